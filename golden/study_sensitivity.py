#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sensitivity study of the miniature, and what it is run on.

  data   writes two files of documents for `gemma4 sensitivity`: calibrate.jsonl, by which recipes
         are chosen, and held_out.jsonl, of other texts and questions: texts of four domains, tool
         calls, questions about pictures, sounds and videos, multiple choice
  run    the study: sweeps and recipes on calibrate.jsonl; recipes, uniform formats and llama.cpp's
         mixes on held_out.jsonl; tables and pages go to --to

--budgets are sizes of mixes: a recipe is chosen for the bytes of each.  Everything is resumed
where an earlier run stopped.  Standard library alone.
usage: study_sensitivity.py data|run --program build/gemma4 --out DIR [--to DIR] [--each N]
       [--questions N]
"""
import argparse
import csv
import json
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
EVAL = os.path.join(HERE, "miniature", "eval")
SINGLE = "q8_0,q6_k,q5_k,q4_k,q3_k,q2_k"
WIDTHS = ",".join(f"{k}{b}b32" for b in (8, 7, 6, 5, 4, 3, 2) for k in "sa")
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


def write_data(a):
    """Rows 0, 2, 4, ... of each sort calibrate, the others are held out."""
    media = os.path.relpath(EVAL, a.out)
    sorts = {("text", d): [{"domain": d, "text": r["text"]} for r in rows]
             for d, rows in by(lines("domains.jsonl"), "domain").items()}
    for kind, rows in by(lines("requests.jsonl"), "name").items():
        sort = {"i": "image", "v": "video", "a": "audio"}[kind[0]]
        sorts["media", kind] = [{"domain": sort, "prompt": r["prompt"], **wanted(r),
                                 "media": [[k, os.path.join(media, f)] for k, f in r["media"]]}
                                for r in rows]
    sorts["tools", ""] = [{"domain": "tool calls", "prompt": t["prompt"],
                           "target": t["call"]} for t in lines("tools.jsonl")]
    for subject, rows in by(choices(), "subject").items():
        sorts["choice", subject] = [{k: v for k, v in r.items() if k != "subject"} for r in rows]
    for half, name in enumerate(("calibrate", "held_out")):
        with open(os.path.join(a.out, name + ".jsonl"), "w", encoding="utf-8") as f:
            for (sort, _), rows in sorts.items():
                n = a.questions if sort == "choice" else a.each
                f.writelines(json.dumps(r) + "\n" for r in rows[half::2][:n])


def gemma4(a, *words):
    done = subprocess.run([a.program, *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}")


def sizes(path):
    with open(path, newline="", encoding="utf-8") as f:
        return {r["what"]: int(r["bytes"]) for r in csv.DictReader(f) if r["by"] == "mix"}


def study(a, name, *words):
    """One growing study; what it has is not measured again."""
    out = os.path.join(a.out, name)
    resume = ["--resume"] if os.path.exists(os.path.join(out, "points.jsonl")) else []
    data = os.path.join(a.out, ("held_out" if name == "held_out" else "calibrate") + ".jsonl")
    gemma4(a, "sensitivity", "--model", a.model, "--data", data, "--out", out, *resume, *words)
    return out


def run(a):
    out = study(a, "sweep", "--types", f"{UNIFORM},{MIXES}", "--by", "model")
    size = sizes(os.path.join(out, "points.csv"))
    budgets = [f"{size[m]}B" for m in a.budgets.split(",")]
    study(a, "sweep", "--types", SINGLE, "--by", "model,kind,layer,tensor,random", "--budget",
          ",".join(budgets))
    study(a, "sweep", "--types", "q4_k,q2_k", "--by", "kind,layer", "--leave", "out")
    study(a, "sweep", "--types", WIDTHS, "--by", "model")
    study(a, "sweep", "--types", "q8_0,s6b32,s4b32", "--by", "model,kind", "--of",
          "activations,both")
    study(a, "sweep", "--types", "f16,q8_0,q5_0,q4_0", "--by", "model,layer", "--of", "kv")
    study(a, "sweep", "--types", SINGLE, "--by", "model,tensor,random")   # whole, once more
    for budget in budgets:
        study(a, "held_out", "--types", f"{UNIFORM},{MIXES}", "--by", "model", "--recipe",
              os.path.join(out, f"recipe_{budget}.txt"))
    if a.to:
        for name in ("sweep", "held_out"):
            for f in KEPT:
                shutil.copy(os.path.join(a.out, name, f), os.path.join(a.to, f"{name}_{f}"))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("what", choices=("data", "run"))
    p.add_argument("--program", default="build/gemma4")
    p.add_argument("--model", default=os.path.join(HERE, "miniature"))
    p.add_argument("--out", required=True)
    p.add_argument("--to")
    p.add_argument("--each", type=int, default=4)
    p.add_argument("--questions", type=int, default=6)
    p.add_argument("--budgets", default="q4_k_m,q3_k_m")
    a = p.parse_args()
    a.out = os.path.abspath(a.out)
    os.makedirs(a.out, exist_ok=True)
    (write_data if a.what == "data" else run)(a)


if __name__ == "__main__":
    main()
