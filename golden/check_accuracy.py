#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `--engine opt` and Q8_0 cost on the trained miniature.

Datasets: of each golden case of the miniature, Transformers computes the same request in float64;
  `gemma4 verify` then holds `--engine ref` and `--engine opt` to twice Transformers' own float32
  error on every dataset, and to its geometric mean over all (harness/compare.h), with the folder's
  BF16 weights and, for text, with a GGUF of float32.
Tables: `gemma4 eval` answers the papers in eval/ from the folder by `--engine ref` and from a Q8_0
  GGUF by `--engine opt`; the accuracy over all of them may change by 0.5 points at most (one
  answer of the shortest paper is 0.33 points of that paper, so each is printed and none judged).

usage: check_accuracy.py [--gemma4 build/gemma4] [--only datasets,tables] [--type q8_0]
                         [--csv FILE]
Datasets need what make_golden.py needs, tables nothing but Python."""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
POINTS = 0.5        # of an accuracy in percent
PAPERS = (("mmlu", "data", (0, 5)), ("mmlu_pro", "pro", (0, 5)))


def program(a, *words, may_fall_short=False):
    r = subprocess.run([a.gemma4, *words], capture_output=True, text=True, check=False)
    if r.returncode > may_fall_short:
        raise SystemExit(f"gemma4 {' '.join(words)}: exit {r.returncode}\n{r.stderr}")
    return r.stdout


# ---- datasets ----

def goldens(a):
    """Cases with activations of a prefill: lean ones as well."""
    import h5py
    found = []
    for path in sorted(glob.glob(os.path.join(a.model, "golden", "*.h5"))):
        with h5py.File(path) as f:
            if f.attrs["detail"] in ("all", "layer", "output"):
                found.append((path, not f["inputs/mm_token_type_ids"][()].any()))
    return found


def section_datasets(a, rows):
    failed = 0
    f32 = os.path.join(a.work, "f32.gguf")
    program(a, "quantize", "--model", a.model, "--type", "f32", "--out", f32)
    for path, text in goldens(a):
        name = os.path.basename(path)[:-len(".h5")]
        twin, truth = (os.path.join(a.work, name + t) for t in (".h5", ".f64.h5"))
        shutil.copyfile(path, twin)
        subprocess.run([sys.executable, os.path.join(HERE, "make_golden.py"), "--model", a.model,
                        "--inputs", path, "--case", name, "--dtype", "float64", "--detail",
                        "output", "--out", truth], check=True, stdout=subprocess.DEVNULL)
        for weights, model in (("BF16", a.model),) + ((("F32", f32),) if text else ()):
            for engine in ("ref", "opt"):
                r = json.loads(program(a, "verify", "--model", model, "--engine", engine, truth,
                                       "--json", may_fall_short=True))
                sets = [d for d in r["datasets"] if d.get("theirs", 0) > 0]
                share = max(d["relative_l2"] / d["theirs"] for d in sets)
                failed += not r["held"]
                print(f"{'ok      ' if r['held'] else 'DIFFERS '} {name:12} {weights:4} {engine}: "
                      f"{r['compared']} datasets, largest share of Transformers' float32 error "
                      f"{share:.2f}, geometric means {r['geometric_mean_ours']:.2e} against "
                      f"{r['geometric_mean_theirs']:.2e}", flush=True)
                rows.append((engine, f"{name}_{weights}", "share_of_float32_error",
                             f"{share:.3f}", ""))
    return failed


# ---- tables ----

def answers(a, model, engine, task, folder, shots):
    """{subject: [1 where right]}"""
    out = os.path.join(a.work, "eval")
    shutil.rmtree(out, ignore_errors=True)
    program(a, "eval", "--model", model, "--engine", engine, "--task", task, "--data",
            os.path.join(a.model, "eval", folder), "--shots", str(shots), "--out", out)
    found = {}
    for path in glob.glob(os.path.join(out, "*", "samples_*.jsonl")):
        name = re.sub(r"_\d{4}-\d\d-\d\dT.*", "", os.path.basename(path)[len("samples_"):])
        with open(path, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        found[name.removeprefix(task + "_")] = [int(r[r["metrics"][0]]) for r in rows]
    return found


def section_tables(a, rows):
    right, asked = [0, 0], 0
    packed = os.path.join(a.work, "packed.gguf")
    program(a, "quantize", "--model", a.model, "--type", a.type, "--out", packed)
    for task, folder, shots in PAPERS:
        for n in shots:
            was = answers(a, a.model, "ref", task, folder, n)
            now = answers(a, packed, "opt", task, folder, n)
            if sorted(was) != sorted(now) or not was:
                raise SystemExit(f"{task}: other subjects")
            total = sum(map(len, was.values()))
            score = [sum(map(sum, x.values())) for x in (was, now)]
            other = sum(p != q for s in was for p, q in zip(was[s], now[s]))
            change = 100 * (score[1] - score[0]) / total
            right, asked = [p + q for p, q in zip(right, score)], asked + total
            print(f"         {task} {n} shots: {100 * score[0] / total:.2f} % by ref, {a.type} by "
                  f"opt {change:+.2f} points; {other} of {total} answers turn", flush=True)
            rows.append(("opt", f"{a.type}_{task}_{n}", "accuracy_change",
                         f"{change:.3f}", "points"))
    change = 100 * (right[1] - right[0]) / asked
    rows.append(("opt", f"{a.type}_all", "accuracy_change", f"{change:.3f}", "points"))
    holds = abs(change) <= POINTS
    print(f"{'ok      ' if holds else 'DIFFERS '} all {asked} answers: {change:+.3f} points in "
          f"{a.type}")
    return not holds


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gemma4", default="build/gemma4")
    p.add_argument("--model", default=os.path.join(HERE, "miniature"))
    p.add_argument("--only", default="datasets,tables")
    p.add_argument("--type", default="q8_0")
    p.add_argument("--csv", help="append the figures to this table")
    a = p.parse_args()
    sections = {"datasets": section_datasets, "tables": section_tables}
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as a.work:
        for name in a.only.split(","):
            failed += sections[name](a, rows)
    if a.csv:
        import peer_rows
        peer_rows.save(a.csv, "miniature", "", rows)
    print("agrees" if failed == 0 else f"{failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
