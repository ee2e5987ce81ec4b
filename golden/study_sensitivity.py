#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sensitivity study of the miniature, and what it is run on.

  data   writes three files of documents for `gemma4 sensitivity`: calibrate.jsonl, texts by which
         recipes are chosen; held_out.jsonl, other texts; domains.jsonl, texts, tool calls,
         questions about pictures, sounds and videos, multiple choice
  run    the study: sweeps and recipes on calibrate.jsonl; recipes, uniform formats and llama.cpp's
         mixes on held_out.jsonl; formats, activations and caches on domains.jsonl; tables and
         pages go to --to

  llama  the same models, packed by us and by llama-quantize, through llama-perplexity (both in the
         folder --llama), on the held-out texts: mean KL and its standard error, as it prints
         them, to --to/llama.csv

--budgets are sizes of mixes: a recipe is chosen for the bytes of each.  Everything is resumed
where an earlier run stopped.  Standard library alone.
usage: study_sensitivity.py data|run|report|llama --program build/gemma4 --out DIR [--to DIR] [--each N]
       [--questions N]
"""
import argparse
import csv
import json
import os
import re
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
EVAL = os.path.join(HERE, "miniature", "eval")
SINGLE = "q8_0,q6_k,q5_k,q4_k,q3_k,q2_k"
WIDTHS = ",".join(f"{k}{bits}b{block}" for k in "sa" for block in (16, 32, 64, 128, 0)
                  for bits in (8, 7, 6, 5, 4, 3, 2))
KINDS = "q4_k,q3_k,q2_k"
ROUGH = "q8_0,s6b32,s4b32"
CACHE = "f16,q8_0,q5_0,q4_0"
UNIFORM = "q8_0,q6_k,q5_k,q5_0,q4_k,iq4_nl,iq4_xs,q4_0,q3_k,q2_k"
MIXES = "q5_k_m,q5_k_s,q4_k_m,q4_k_s,q3_k_l,q3_k_m,q3_k_s"
KEPT = ("points.csv", "depth.csv", "noise.csv", "channels.csv", "questions.csv", "predicted.csv",
        "summary.md")


def lines(name):
    with open(os.path.join(EVAL, name), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def by(rows, key):
    out = {}
    for r in rows:
        out.setdefault(r[key], []).append(r)
    return out


def choices():
    """MMLU's layout as the papers have it: a question, its options by letter, the answer."""
    folder = os.path.join(EVAL, "data", "test")
    for name in sorted(os.listdir(folder)):
        subject = name[:-len("_test.csv")]
        about = f"The following are multiple choice questions (with answers) about {subject}."
        with open(os.path.join(folder, name), newline="", encoding="utf-8") as f:
            for question, *options, answer in csv.reader(f):
                listed = "\n".join(f"{'ABCD'[i]}. {o}" for i, o in enumerate(options))
                yield {"domain": "multiple choice", "subject": subject,
                       "prompt": f"{about}\n\n{question}\n{listed}\nAnswer:",
                       "choices": [" A", " B", " C", " D"], "answer": "ABCD".index(answer)}


def wanted(request):
    if "choices" in request:
        return {"choices": request["choices"], "answer": request["gold"]}
    return {"target": " " + request["target"]}


def write(a, name, rows):
    with open(os.path.join(a.out, name + ".jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)


def write_data(a):
    """Texts 0, 2, 4, ... of each domain calibrate, the others are held out."""
    media = os.path.relpath(EVAL, a.out)
    texts = {d: [{"domain": d, "text": r["text"]} for r in rows]
             for d, rows in by(lines("domains.jsonl"), "domain").items()}
    write(a, "calibrate", (r for rows in texts.values() for r in rows[::2][:a.each]))
    write(a, "held_out", (r for rows in texts.values() for r in rows[1::2]))
    mixed = [r for rows in texts.values() for r in rows[::2][:a.each]]
    for kind, rows in by(lines("requests.jsonl"), "name").items():
        sort = {"i": "image", "v": "video", "a": "audio"}[kind[0]]
        mixed += [{"domain": sort, "prompt": r["prompt"], **wanted(r),
                   "media": [[k, os.path.join(media, f)] for k, f in r["media"]]}
                  for r in rows[::2]]
    mixed += [{"domain": "tool calls", "prompt": t["prompt"], "target": t["call"]}
              for t in lines("tools.jsonl")[::2][:a.each]]
    for rows in by(choices(), "subject").values():
        mixed += [{k: v for k, v in r.items() if k != "subject"} for r in rows[::2][:a.questions]]
    write(a, "domains", mixed)


def gemma4(a, *words):
    done = subprocess.run([a.program, *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}")


def sizes(path):
    with open(path, newline="", encoding="utf-8") as f:
        return {r["what"]: int(r["bytes"]) for r in csv.DictReader(f) if r["by"] == "mix"}


def study(a, name, *words):
    """One growing study; what it has is not measured again."""
    out = os.path.join(a.out, "study_" + name)
    resume = ["--resume"] if os.path.exists(os.path.join(out, "points.jsonl")) else []
    draft = [] if name == "held_out" else ["--draft", os.path.join(a.model, "assistant")]
    gemma4(a, "sensitivity", "--model", a.model, "--data", os.path.join(a.out, name + ".jsonl"),
           *draft, "--threads", str(a.threads), "--out", out, *resume, *words)
    return out


def run(a):
    out = study(a, "calibrate", "--types", MIXES)
    size = sizes(os.path.join(out, "points.csv"))
    budgets = [f"{size[m]}B" for m in a.budgets.split(",")]
    study(a, "calibrate", "--types", SINGLE, "--by", "tensor", "--budget", ",".join(budgets))
    study(a, "calibrate", "--types", SINGLE, "--by", "model,random")
    for budget in budgets:
        study(a, "held_out", "--types", f"{UNIFORM},{MIXES}", "--recipe",
              os.path.join(out, f"recipe_{budget}.txt"))
    study(a, "calibrate", "--types", SINGLE, "--by", "kind,layer")
    study(a, "domains", "--types", f"{UNIFORM},{MIXES}")
    study(a, "domains", "--types", KINDS, "--by", "kind")
    study(a, "calibrate", "--types", WIDTHS)
    study(a, "calibrate", "--types", SINGLE, "--by", "kind,layer", "--leave", "out")
    study(a, "calibrate", "--types", ROUGH, "--of", "activations,both", "--by", "model,kind,layer")
    study(a, "calibrate", "--types", CACHE, "--of", "kv", "--by", "model,layer")
    study(a, "domains", "--types", CACHE, "--of", "kv")
    study(a, "domains", "--types", ROUGH, "--of", "activations,both")
    study(a, "domains", "--types", "q8_0", "--of", "activations", "--by", "kind")
    report(a)


def report(a):
    """Pages and tables once more from the journals, all that each page shows together; of tables
    such as have more than a head."""
    study(a, "calibrate", "--types", SINGLE, "--by", "model,kind,layer,random",
          "--leave", "in,out")
    study(a, "domains", "--types", KINDS, "--by", "model,kind")
    study(a, "held_out", "--types", "q8_0")
    for name in ("calibrate", "held_out", "domains"):
        folder = os.path.join(a.out, "study_" + name)
        recipes = [f for f in sorted(os.listdir(folder)) if f.startswith("recipe_")]
        for f in [*KEPT, *recipes]:
            with open(os.path.join(folder, f), encoding="utf-8") as text:
                if len(text.readlines()) > 1:
                    shutil.copy(text.name, os.path.join(a.to, f"{name}_{f}"))


def llama(a):
    import check_kl
    text, base = os.path.join(a.out, "held_out.txt"), os.path.join(a.out, "base.dat")
    whole, path = os.path.join(a.out, "f32.gguf"), os.path.join(a.out, "llama.gguf")
    with open(os.path.join(a.out, "held_out.jsonl"), encoding="utf-8") as f:
        texts = [r["text"].replace("\n", " ") for r in map(json.loads, f)]
    with open(text, "w", encoding="utf-8") as f:
        f.write(" ".join(texts) + "\n")

    def perplexity(model, *words):
        return check_kl.call(os.path.join(a.llama, "llama-perplexity"), "-m", model, "-f", text,
                             "-c", "128", "-b", "128", "-t", "1", "-ctk", "f32", "-ctv", "f32",
                             "-fa", "off", "--kl-divergence-base", base, *words)

    def divergence(model):
        """Its log is written by a thread that its end may overtake: then it is asked again."""
        for _ in range(40):
            out = perplexity(model, "--kl-divergence")
            mean = re.search(r"Mean\s+KLD:\s*([\d.e+-]+)\s*±\s*([\d.e+-]+)", out)
            if mean:
                return mean.groups()
        raise SystemExit(f"llama-perplexity prints no mean KLD\n{out[-2000:]}")

    def ours(*what):
        gemma4(a, "quantize", "--model", a.model, "--out", path, *what)

    def theirs(kind, *words):
        check_kl.call(os.path.join(a.llama, "llama-quantize"), *words, whole, path, kind, "1")
    gemma4(a, "quantize", "--model", a.model, "--type", "f32", "--out", whole)
    perplexity(whole)
    size = sizes(os.path.join(a.out, "study_calibrate", "points.csv"))
    models = [("gemma4", t, ours, ("--type", t)) for t in f"{a.uniform},{MIXES}".split(",")]
    models += [("llama-quantize", t, theirs, (t,)) for t in f"{a.uniform},{MIXES}".split(",")]
    for m in a.budgets.split(","):
        recipe = os.path.join(a.out, "study_calibrate", f"recipe_{size[m]}B.txt")
        name = f"recipe of {m}'s size"
        models += [("gemma4", name, ours, ("--type", "f16", "--recipe", recipe)),
                   ("llama-quantize", name, theirs, ("q4_k_m", "--tensor-type-file", recipe))]
    with open(os.path.join(a.to, "llama.csv"), "w", newline="", encoding="utf-8") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(["packed_by", "model", "file_bytes", "kl", "kl_se"])
        for by, name, pack, what in models:
            pack(*what)
            row = [by, name, os.path.getsize(path), *divergence(path)]
            table.writerow(row)
            print(*row, flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("what", choices=("data", "run", "report", "llama"))
    p.add_argument("--program", default="build/gemma4")
    p.add_argument("--model", default=os.path.join(HERE, "miniature"))
    p.add_argument("--out", required=True)
    p.add_argument("--to", default=os.path.join(HERE, "..", "notebooks_data", "results",
                                             "sensitivity"))
    p.add_argument("--llama", help="folder of llama-perplexity and llama-quantize")
    p.add_argument("--uniform", default="q8_0,q6_k,q4_0,iq4_nl,iq4_xs,q2_k")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--each", type=int, default=4)
    p.add_argument("--questions", type=int, default=6)
    p.add_argument("--budgets", default="q4_k_m,q3_k_m")
    a = p.parse_args()
    a.out, a.model = os.path.abspath(a.out), os.path.relpath(a.model)
    os.makedirs(a.out, exist_ok=True)
    {"data": write_data, "run": run, "report": report, "llama": llama}[a.what](a)


if __name__ == "__main__":
    main()
