#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What sharing prefixes is worth: `gemma4 eval` of a task, and the same options each by itself.

Nothing in the program keeps it from sharing, so each option becomes a request of its own
(requests.jsonl) whose first letter none of those near it has: no beginning in common, and a
token or two more or fewer.  A request needs two choices, and the same one twice costs an option
of one token nothing; so options are letters here (mmlu).  Both run in the same batches.  Prints
tokens computed and processor seconds (user) of either, and the ratios.  Standard library alone.
usage: study_shared.py --program build/gemma4 --model DIR --task mmlu --data DIR [--shots 5]
       [--limit N] [option of eval...]
"""
import argparse
import glob
import json
import os
import resource
import subprocess
import sys
import tempfile

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def run(a, task, data, shots, out, more):
    """Results of one evaluation and its user seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    cmd = [a.program, "eval", "--model", a.model, "--task", task, "--data", data, "--out", out,
           "--json"] + (["--shots", str(shots)] if shots is not None else []) + more
    done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip())
    return json.loads(done.stdout), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def write_apart(out, path):
    """Every option that samples in `out` hold as a request; how many."""
    n = 0
    with open(path, "w", encoding="utf-8") as f:
        for name in sorted(glob.glob(os.path.join(out, "*", "samples_*.jsonl"))):
            for line in open(name, encoding="utf-8"):
                for asked in json.loads(line)["arguments"].values():
                    request = {"prompt": "%s %s" % (LETTERS[n % len(LETTERS)], asked["arg_0"]),
                               "choices": 2 * [asked["arg_1"]], "gold": 0}
                    f.write(json.dumps(request) + "\n")
                    n += 1
    return n


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    for name in ("program", "model", "task", "data"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--shots", type=int, default=5)
    p.add_argument("--limit", type=int)
    a, more = p.parse_known_args()
    limit = ["--limit", str(a.limit)] if a.limit else []
    with tempfile.TemporaryDirectory() as d:
        out = os.path.join(d, "out")
        shared, seconds = run(a, a.task, a.data, a.shots, out, limit + more)
        options = write_apart(out, os.path.join(d, "requests.jsonl"))
        apart, long = run(a, "requests", d, None, os.path.join(d, "apart"), more)
    tokens = shared["tokens"]
    read = apart["tokens"]["computed"]
    if abs(read - tokens["alone"]) > 2 * options:
        sys.exit("%d options read %d tokens apart, not %d and up to two each" %
                 (options, read, tokens["alone"]))
    print("%d options: %d tokens, %.2f s; apart %d tokens (counted %d), %.2f s: %.1f and %.1f "
          "times as many" % (options, tokens["computed"], seconds, read, tokens["alone"], long,
                             tokens["alone"] / tokens["computed"], long / seconds))


if __name__ == "__main__":
    main()
