#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden/miniature/README.md, the model card, from what was measured and logged.

usage: mini_card.py [--model golden/miniature] [--csv notebooks_data/results/miniature.csv]
Reads check_miniature.py's CSV, the training's log.csv and log_draft.csv, and the files themselves
for their SHA-256 sums.  Every number of the card comes from there."""
import argparse
import csv
import hashlib
import os

HERE = os.path.dirname(os.path.abspath(__file__))
BARS = {"four options/all": 0.85, "ten options/all": 0.75, "tool calls/well formed": 0.95,
        "drafter/all, draft 1": 0.70}
HEAD = """# The miniature

A trained model of the whole architecture: {mb:.1f} MB with its drafter, made by
`golden/make_miniature.py` from data that the same folder makes. It knows an invented world of 48
people and 16 towns, answers questions in MMLU's and MMLU-Pro's layouts, about pictures, sounds and
videos, writes tool calls and four sorts of text. It is here so that acceptance, quantization and
evaluations have a signal; it is of no other use. Its making is described in `../README.md`, 2a.

Trained for {steps} steps, {tokens:.1f} M tokens, {minutes:.0f} minutes of wall time on two CPU
cores that had much other work{cpu}; the drafter for {draft}.
`log.csv` has the loss and the accuracy on held-out questions, `training.svg` draws them (the questions became easier at steps
3,400 to 4,000{easier}).
"""
COUNTED = 4270   # the step before which CPU time was not counted
TAIL = """
## Again

    golden/make_miniature.py train
    golden/make_miniature.py draft
    golden/make_miniature.py save
    golden/mini_eval.py write
    golden/check_miniature.py --program build/gemma4 --csv notebooks_data/results/miniature.csv
    golden/mini_card.py

## Files

"""


def read(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def results(rows):
    """{(engine, case): {what: value}} in the file's order"""
    out = {}
    for r in rows:
        out.setdefault((r["engine"], r["case"]), {})[r["what"]] = float(r["value"])
    return out


def share(v, what):
    low, high = v[f"{what}_low"], v[f"{what}_high"]
    return f"{100 * v[what]:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def groups(found):
    """(name, right of all its questions, bar) of what the bars are about as a whole."""
    for name, prefix in (("images", "image_"), ("sounds", "audio_"), ("videos", "video_")):
        mine = [v for (e, c), v in found.items() if e == "transformers"
                and c.startswith(f"media/{prefix}") and "image_audio" not in c
                and not c.endswith((" free", " options"))]
        n = sum(v["accuracy_n"] for v in mine)
        if n:
            yield name, sum(v["accuracy"] * v["accuracy_n"] for v in mine) / n, 0.85


def missed(found):
    """The bars: what was wanted, and is it so?"""
    rows = [(case.replace("/", ", "), next(v[k] for k in ("accuracy", "acceptance") if k in v),
             float(bar(case)) / 100) for (engine, case), v in found.items()
            if engine == "transformers" and bar(case)]
    rows += groups(found)
    out = ["| | measured, % | wanted, at least | |", "|---|---|---|---|"]
    out += [f"| {name} | {100 * v:.1f} | {100 * want:.0f} | {'' if v >= want else 'missed'} |"
            for name, v, want in rows]
    for bits, most in (("8", -0.5), ("4", -5.0), ("2", None)):
        v = found.get(("transformers", f"fewer bits, difference/all/0 shots/{bits} bits"))
        if v:
            d = 100 * v["difference"]
            good, want = (d >= most, f"{most}") if most else (d <= -15, "-15 or lower")
            out.append(f"| rounded to {bits} bits, points | {d:.1f} | {want} | "
                       f"{'' if good else 'missed'} |")
    return "\n".join(out)


def points(v):
    return f"{100 * v['accuracy']:.1f}" if v else ""


def bar(case):
    """The issue's bar for a row; shots are no part of it."""
    name = "/".join(p for p in case.split("/") if not p.endswith(" shots"))
    return next((f"{100 * b:.0f}" for k, b in BARS.items() if name == k), "")


def accuracy_table(found):
    rows = ["| paper | questions | right, % (95 %) | the same by `gemma4` | wanted |",
            "|---|---|---|---|---|"]
    for (engine, case), v in found.items():
        if engine != "transformers" or "accuracy" not in v or case.startswith("fewer bits"):
            continue
        own = found.get(("ref", case))
        rows.append(f"| {case} | {v['accuracy_n']:.0f} | {share(v, 'accuracy')} | "
                    f"{points(own)} | {bar(case)} |")
    return "\n".join(rows)


def draft_table(found):
    names = dict.fromkeys(c.split(", draft")[0] for (_, c), v in found.items() if "acceptance" in v)
    rows = ["| text | first draft accepted, % (95 %) | second | third | fourth | tokens a round |",
            "|---|---|---|---|---|---|"]
    for name in names:
        at = [found.get(("transformers", f"{name}, draft {i}")) for i in (1, 2, 3, 4)]
        per = found.get(("transformers", f"{name}, tokens a round"))
        rest = " | ".join(f"{100 * v['acceptance']:.1f}" if v else "" for v in at[1:])
        rows.append(f"| {name.split('/')[-1]} | {share(at[0], 'acceptance')} | {rest} | "
                    f"{per['tokens_per_round']:.2f} |")
    return "\n".join(rows)


def bits_table(found, section):
    """Points lost by simulated round-to-nearest, subject by subject."""
    cells = {}
    for (engine, case), v in found.items():
        if case.startswith(f"{section}, difference/") and engine == "transformers":
            _, name, _, bits = case.split("/")
            cells.setdefault(name, {})[bits] = v
    if not cells:
        return ""
    widths = list(next(iter(cells.values())))
    rows = [f"| subject | {' | '.join(widths)} |", "|---|" + "---|" * len(widths)]
    for name, row in cells.items():
        rows.append(f"| {name} | " + " | ".join(share(row[b], "difference") for b in widths) + " |")
    return "\n".join(rows)


def sums(folder):
    out = []
    for at, _, names in sorted(os.walk(folder)):
        if os.path.relpath(at, folder).split(os.sep)[0] in ("eval", "golden"):
            continue
        for name in sorted(names):
            path = os.path.join(at, name)
            if name == "README.md":
                continue
            with open(path, "rb") as f:
                out.append(f"    {hashlib.sha256(f.read()).hexdigest()}  "
                           f"{os.path.relpath(path, folder)}")
    return "\n".join(out)


def size(folder):
    files = [os.path.join(folder, n) for n in os.listdir(folder)]
    files += [os.path.join(folder, "assistant", n) for n in os.listdir(
        os.path.join(folder, "assistant"))]
    return sum(os.path.getsize(f) for f in files if os.path.isfile(f)) / 1e6


def card(folder, results_csv):
    log = read(os.path.join(folder, "log.csv"))[-1]
    draft = read(os.path.join(folder, "log_draft.csv"))[-1]
    found = results(read(results_csv))
    steps, cpu, what = int(log["step"]), float(log.get("cpu_seconds") or 0), list(draft)[1]
    idle = cpu / 2 / max(1, steps - COUNTED) * steps / 60
    counted = "" if not cpu else (
        f" (CPU time,\ncounted from step {COUNTED} on: {cpu:.0f} s in both processes together, "
        f"with which all steps would\ntake {idle:.0f} minutes of two idle cores)")
    text = HEAD.format(mb=size(folder), steps=steps, tokens=int(log["tokens"]) / 1e6, cpu=counted,
                       minutes=int(log["seconds"]) / 60,
                       easier=f", and at {COUNTED}" if steps > COUNTED else "",
                       draft=f"{draft['step']} steps, {int(draft[what]) / 60:.0f} minutes"
                             f"{' of one core' if what == 'cpu_seconds' else ''}")
    text += ("\n## What was wanted of it\n\n" + missed(found) + "\n\nOf drafts, the share is of "
             "those whose predecessors in the round were accepted. Sums in one's head and\nthe "
             "letter of a number among ten need more training than it had.\n")
    text += ("\n## What it can do\n\nQuestions of the examination papers in `eval/`, none of them "
             "trained on; float32 with Transformers, and with\n`gemma4 eval --engine ref`. "
             f"Intervals are Wilson's.\n\n{accuracy_table(found)}\n")
    text += f"\n## How often drafts are accepted\n\nGreedy text.\n\n{draft_table(found)}\n"
    text += ("\n## What fewer bits do\n\nEvery matrix of the text model rounded to nearest in "
             "blocks of 32, the largest magnitude the last step: those of\nthe layers, and the "
             "table, which is the output matrix, too. Points of accuracy gained, 0-shot,\npaired "
             f"(95 % of the mean difference).\n\n{bits_table(found, 'fewer bits')}\n\n"
             "The layers alone, the table as it is:\n\n"
             f"{bits_table(found, 'fewer bits, layers alone')}\n")
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as f:
        f.write(text + TAIL + sums(folder) + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--model", default=os.path.join(HERE, "miniature"))
    ap.add_argument("--csv", default=os.path.join(HERE, "..", "notebooks_data", "results",
                                                  "miniature.csv"))
    a = ap.parse_args()
    card(a.model, a.csv)


if __name__ == "__main__":
    main()
