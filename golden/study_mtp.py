#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The acceptance studies on the miniature: runs `gemma4 mtp` and collects its summaries.

  domains   rounds of 4, greedy: by domain, context, picture and sound, target's entropy
  ways      the same as Transformers, llama.cpp and vLLM draft, temperature 0 and 1
  heat      temperatures 0, 0.5, 1
  formats   target and drafter in Q8_0, Q4_0, Q4_K, Q2_K, one of them or both
  teacher   every position of the texts, teacher-forced
  speed     every length of a round, and lengths chosen while running, in turns

Rows go to notebooks_data/results/mtp.csv, in place of those of the same study; the plots in
notebooks_data/plots read them.  --with puts a command in front of the program ("chrt -f 50").  Standard library alone.
usage: study_mtp.py --program build/gemma4 [--only domains,...] [--per-domain N] [--tokens N]
"""
import argparse
import csv
import datetime
import json
import os
import shlex
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CSV = os.path.join(HERE, "..", "notebooks_data", "results", "mtp.csv")
FIELDS = ["date", "commit", "study", "run", "group", "case", "what", "position", "prompts", "n",
          "value", "low", "high"]
FORMATS = ["q8_0", "q4_0", "q4_k", "q2_k"]
LENGTH = 4
LENGTHS = [0, 1, 2, 3, 4, 5, 6, 8]
TURNS = 3          # of a speed measurement; the median counts


def read_lines(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def cut(text, share=4):
    """The first part of a text, at a blank."""
    at = text.find(" ", max(20, len(text) // share))
    return text[:at] if at > 0 else text


class Study:
    def __init__(self, a, tmp):
        self.a, self.tmp, self.rows = a, tmp, []
        self.model = os.path.join(HERE, "miniature")
        git = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=7"], cwd=HERE,
                             capture_output=True, text=True, check=False)
        self.commit = git.stdout.strip()
        self.count = 0

    def write(self, name, rows):
        path = os.path.join(self.tmp, name)
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(r) + "\n" for r in rows)
        return path

    def texts(self):
        """Beginnings, as many of each domain; half of them behind two whole texts."""
        rows, out = read_lines(self.model, "eval", "domains.jsonl"), []
        for domain in dict.fromkeys(r["domain"] for r in rows):
            texts = [r["text"] for r in rows if r["domain"] == domain]
            for i in range(min(self.a.per_domain, len(texts))):
                head = "".join(texts[(i + k) % len(texts)] + "\n" for k in (1, 2)) if i % 2 else ""
                out.append({"domain": domain, "prompt": head + cut(texts[i])})
        tools = read_lines(self.model, "eval", "tools.jsonl")
        out += [{"domain": "tool call", "prompt": t["prompt"]}
                for t in tools[:self.a.per_domain]]
        return out

    def whole(self):
        rows = read_lines(self.model, "eval", "domains.jsonl")
        return [{"domain": r["domain"], "prompt": r["text"]} for r in rows]

    def media(self):
        rows = read_lines(self.model, "eval", "requests.jsonl")
        folder = os.path.abspath(os.path.join(self.model, "eval"))
        return [{"domain": "media question", "prompt": r["prompt"],
                 "media": [[k, os.path.relpath(os.path.join(folder, f), self.tmp)]
                           for k, f in r["media"]]} for r in rows]

    def run(self, data, *options, model=None, draft=None):
        self.count += 1
        out = os.path.join(self.tmp, f"run{self.count}")
        command = [*shlex.split(self.a.before), self.a.program, "mtp", "--model", model or self.model, "--draft",
                   draft or os.path.join(self.model, "assistant"), "--data", data,
                   "--out", out, *map(str, options)]
        if "--teacher-forced" not in options:
            command += ["--max-tokens", str(self.a.tokens)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.strip())
        with open(os.path.join(out, "summary.csv"), newline="", encoding="utf-8") as f:
            return list(csv.DictReader(f))

    def keep(self, study, name, rows):
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%FT%TZ")
        for r in rows:
            self.rows.append({"date": date, "commit": self.commit, "study": study, "run": name,
                              **r})
        print(study, name, next((f"{float(r['value']):.4f}" for r in rows
                                 if r["what"] in ("acceptance", "expected_acceptance",
                                                  "speedup") and not r["position"]), ""),
              flush=True)

    def packed(self):
        """format -> (target, drafter), both as GGUF; f32 is the checkpoint itself"""
        files = {"bf16": (self.model, os.path.join(self.model, "assistant"))}
        for t in FORMATS:
            files[t] = tuple(os.path.join(self.tmp, f"{k}_{t}.gguf") for k in ("m", "d"))
            for src, dst in zip(files["bf16"], files[t]):
                subprocess.run([self.a.program, "quantize", "--model", src, "--type", t, "--out",
                                dst], check=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        return files


def figures(rows, groups=("all", "domain", "modality", "context", "entropy", "engine")):
    """Rows of a summary that do not depend on the machine's other work."""
    return [r for r in rows if r["group"] in groups]


def domains(s):
    data = s.write("all.jsonl", s.texts() + s.media())
    s.keep("domains", "greedy", figures(s.run(data, "--max-draft", LENGTH)))


def ways(s):
    data = s.write("texts.jsonl", s.texts())
    for heat in (0, 1):
        for way in ("hf", "llama.cpp", "vllm"):
            s.keep("ways", f"{way}, temperature {heat}",
                   figures(s.run(data, "--max-draft", LENGTH, "--emulate", way, "--temperature",
                                 heat, "--top-k", 0, "--top-p", 1), ("all", "engine")))


def heat(s):
    data = s.write("texts.jsonl", s.texts())
    for t in (0, 0.5, 1):
        s.keep("heat", f"{t:g}", figures(s.run(data, "--max-draft", LENGTH, "--temperature", t,
                                               "--top-k", 0, "--top-p", 1),
                                       ("all", "domain")))


def formats(s):
    data, files = s.write("texts.jsonl", s.texts()), s.packed()
    pairs = [("bf16", "bf16")]
    for t in FORMATS:
        pairs += [(t, "bf16"), ("bf16", t), (t, t)]
    for target, draft in pairs:
        rows = s.run(data, "--max-draft", LENGTH, model=files[target][0], draft=files[draft][1])
        s.keep("formats", f"{target}/{draft}", figures(rows, ("all",)))


def teacher(s):
    data = s.write("whole.jsonl", s.whole())
    s.keep("teacher", "f32", figures(s.run(data, "--max-draft", LENGTH, "--teacher-forced",
                                           "--engine", "ref")))


def value(rows, group, case, what, position=""):
    return next(float(r["value"]) for r in rows if (r["group"], r["case"], r["what"],
                                                    r["position"]) == (group, case, what, position))


def speed(s):
    """Tokens a second of each length, in turns; the prediction is from rounds of 8 and the
    costs that the same process measured."""
    data = s.write("texts.jsonl", s.texts()[::3])
    found, costs = {k: [] for k in (*LENGTHS, None)}, None
    for _ in range(TURNS):
        for k in found:
            rows = s.run(data, *(("--max-draft", k) if k is not None else ()))
            found[k].append((value(rows, "speed", "measured", "tokens_per_s"), rows))
            if k == LENGTHS[-1]:
                costs = rows
    middle = {k: sorted(v, key=lambda x: x[0])[TURNS // 2] for k, v in found.items()}
    plain, out = middle[0][0], []
    for k, (rate, rows) in middle.items():
        tries = sorted(x[0] / plain for x in found[k])
        name = "paced" if k is None else "fixed"
        out.append({"group": "speed", "case": name, "what": "speedup",
                    "position": "" if k is None else k, "prompts": "", "n": TURNS,
                    "value": rate / plain, "low": tries[0], "high": tries[-1]})
        out.append({"group": "speed", "case": name, "what": "tokens_per_pass",
                    "position": "" if k is None else k, "prompts": "", "n": "",
                    "value": value(rows, "all", "all", "tokens_per_pass"), "low": "", "high": ""})
    out += [r for r in costs if r["group"] in ("cost", "speed") and r["case"] != "measured"]
    s.keep("speed", "miniature", out)


STUDIES = {"domains": domains, "ways": ways, "heat": heat, "formats": formats,
           "teacher": teacher, "speed": speed}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--program", required=True)
    ap.add_argument("--only", default=",".join(STUDIES))
    ap.add_argument("--per-domain", type=int, default=12)
    ap.add_argument("--tokens", type=int, default=64)
    ap.add_argument("--with", dest="before", default="")
    ap.add_argument("--csv", default=CSV)
    a = ap.parse_args()
    for name in a.only.split(","):
        with tempfile.TemporaryDirectory() as tmp:
            s = Study(a, tmp)
            STUDIES[name](s)
        old = []
        if os.path.exists(a.csv):
            with open(a.csv, newline="", encoding="utf-8") as f:
                old = [r for r in csv.DictReader(f) if r["study"] != name]
        with open(a.csv + ".tmp", "w", newline="", encoding="utf-8") as f:
            out = csv.DictWriter(f, FIELDS, lineterminator="\n")
            out.writeheader()
            out.writerows(old + s.rows)
        os.replace(a.csv + ".tmp", a.csv)


if __name__ == "__main__":
    main()
