#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`gemma4 eval --task hellaswag` beside llama-perplexity's --multiple-choice and --hellaswag.

Made-up questions of HellaSwag's layout, four endings each, are asked of the same GGUF file in
turns: seconds of the whole process and of processors.  llama.cpp divides an ending's
log-likelihood by its tokens (lm-eval by its letters); done to ours, too, which questions are
answered rightly must be the same but for near ties, and these are counted; but not where
endings begin with the same token, whose share llama.cpp leaves out and lm-eval does not say.
How many tokens either reads is printed, too (llama.cpp: all but the common beginning once).
Standard library alone.
usage: study_choices.py --program build/gemma4 --llama llama-perplexity --model F.gguf
       [--count 200] [--words 30,9] [--rounds 3] [--threads 2] [--batch 128,16] [--csv F.csv]
"""
import argparse
import glob
import json
import os
import random
import re
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import peer_rows

WORDS = ("the a of to and in that it is was for on with as he she they at by from water stone light "
         "river roof hand ball two then puts takes walks again under over green small old").split()
FIRST = "across before carefully downwards every finally gently high".split()


def make(count, words, seed):
    """Documents as the published data set has them."""
    r = random.Random(seed)
    out = []

    def text(n):
        return " ".join(r.choice(WORDS) for _ in range(r.randint(n * 2 // 3, n * 4 // 3)))
    for i in range(count):
        endings = ["%s %s." % (w, text(words[1])) for w in r.sample(FIRST, 4)]
        a, b = text(words[0]).capitalize() + ".", text(3)
        out.append({"ind": i, "activity_label": text(2), "ctx_a": a, "ctx_b": b,
                    "ctx": a + " " + b, "endings": endings, "source_id": "made~%d" % i,
                    "split": "val", "split_type": "indomain", "label": str(r.randrange(4))})
    return out


def packed(text):
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def write_theirs(asked, folder):
    """llama-perplexity's two formats of the same texts: six lines; records behind their places."""
    records = []
    with open(os.path.join(folder, "six.txt"), "w", encoding="utf-8") as f:
        for context, endings, gold in asked:
            f.write("\n".join([context, str(gold), *endings]) + "\n")
            answers = struct.pack("<I", len(endings)) + b"".join(map(packed, endings))
            answers += struct.pack("<%di" % len(endings), *(i == gold for i in range(len(endings))))
            records.append(packed(context) + answers + struct.pack("<I", 0))
    at, places = 4 + 4 * len(records), []
    for record in records:
        places.append(at)
        at += len(record)
    with open(os.path.join(folder, "choices.bin"), "wb") as f:
        f.write(struct.pack("<%dI" % (1 + len(records)), len(records), *places))
        f.write(b"".join(records))


def timed(cmd):
    """What a command said; its seconds; of processors."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          encoding="utf-8", errors="replace")
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit("%s: %s" % (cmd[0], done.stderr[-2000:]))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout + done.stderr, wall, cpu


def ours(a, folder):
    """Samples of one evaluation, tokens read and its seconds."""
    with tempfile.TemporaryDirectory() as out:
        said, wall, cpu = timed([a.program, "eval", "--model", a.model, "--task", "hellaswag",
                                 "--data", folder, "--shots", "0", "--threads", a.threads, "--kv",
                                 a.kv, "--out", out, "--json"])
        name, = glob.glob(os.path.join(out, "*", "samples_hellaswag_*.jsonl"))
        with open(name, encoding="utf-8") as f:
            samples = [json.loads(line) for line in f]
    tokens = json.loads(said[said.index("{"):said.rindex("}") + 1])["tokens"]["computed"]
    return samples, tokens, wall, cpu


def theirs(a, how, name):
    """Running accuracy behind each question; seconds; of processors."""
    each, parallel = a.batch.split(",")   # tokens of context a sequence; sequences at once
    said, wall, cpu = timed([a.llama, "-m", a.model, how, "-f", name, "-t", a.threads, "-tb",
                             a.threads, "-c", each, "-np", parallel, "-ctk", a.kv, "-ctv", a.kv,
                             "-fa", "on", "--no-warmup", *a.extra.split()])
    rates = [float(x) for x in re.findall(r"^\d+\t\s*([\d.]+)", said, re.M)]
    return rates, wall, cpu


def ids_of(a, text):
    said = subprocess.run([a.program, "tokens", "--model", a.model, "--text", text, "--json"],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(said.stdout)["ids"]


def right(a, samples):
    """Which questions are answered rightly by log-likelihood a token, and how clearly; tokens of
    all.  None of the first where some endings begin alike."""
    out, tokens, alike = [], 0, False
    for s in samples:
        asked = list(s["arguments"].values())
        head = len(ids_of(a, asked[0]["arg_0"]))
        rows = [ids_of(a, x["arg_0"] + x["arg_1"]) for x in asked]
        alike |= any(row[head] == rows[0][head] for row in rows[1:])
        begin = os.path.commonprefix(rows)
        tokens += len(begin) + sum(len(row) - len(begin) for row in rows)
        mean = [float(r[0]) / (len(row) - head) for r, row in zip(s["filtered_resps"], rows)]
        order = sorted(mean)
        out.append((mean.index(order[-1]) == int(s["target"]), order[-1] - order[-2]))
    return None if alike else out, tokens


def differ(mine, rates):
    """Questions that only one of both answers rightly, and the clearest of them."""
    done, unlike = 0, []
    for i, ((good, margin), rate) in enumerate(zip(mine, rates)):
        now = round(rate / 100 * (i + 1))
        if (now - done) != good:
            unlike.append(margin)
        done = now
    return len(unlike), max(unlike, default=0.0)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    for name in ("program", "llama", "model"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--words", default="30,9", help="of a context and an ending, two thirds to "
                   "four thirds of that")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", default="2")
    p.add_argument("--kv", default="f16")
    p.add_argument("--batch", default="128,16", help="llama-perplexity's -c and -np: tokens in a "
                   "batch are their product, at most 2,048")
    p.add_argument("--extra", default="", help="more of llama-perplexity's options")
    p.add_argument("--csv", help="notebooks_data/results/speed_peers.csv")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        study(a, d)


def study(a, d):
    for name, seed, count in (("validation", 1, a.count), ("train", 2, 8)):
        with open(os.path.join(d, name + ".jsonl"), "w", encoding="utf-8") as f:
            for doc in make(count, [int(n) for n in a.words.split(",")], seed):
                f.write(json.dumps(doc) + "\n")
    samples, read, _, _ = ours(a, d)
    texts = [[list(x["arguments"].values()), int(x["target"])] for x in samples]
    write_theirs([(args[0]["arg_0"], [x["arg_1"][1:] for x in args], gold)
                  for args, gold in texts], d)
    mine, whole = right(a, samples)
    paths = {"multiple-choice": "choices.bin", "hellaswag": "six.txt"}
    walls, cpus = {}, {}
    for _ in range(a.rounds):
        for who in ("opt", *paths):
            if who == "opt":
                _, _, wall, cpu = ours(a, d)
            else:
                rates, wall, cpu = theirs(a, "--" + who, os.path.join(d, paths[who]))
                if len(rates) != a.count:
                    sys.exit("%s answered %d questions of %d" % (who, len(rates), a.count))
            if mine and who == "multiple-choice":
                unlike = differ(mine, rates)
            walls.setdefault(who, []).append(wall)
            cpus.setdefault(who, []).append(cpu)
    print("%d questions; read: ours %d tokens, theirs %d" % (a.count, read, whole))
    if mine:
        print("right by log-likelihood a token: ours %d; %d questions answered otherwise, the "
              "clearest by %.2g nats a token" % (sum(good for good, _ in mine), *unlike))
    rows = []
    for who, wall in walls.items():
        s, c = statistics.median(wall), statistics.median(cpus[who])
        print("%-16s %7.2f s (%.2f to %.2f), %7.2f s of processors, %.2f x" %
              (who, s, min(wall), max(wall), c, s / statistics.median(walls["opt"])))
        engine = "opt" if who == "opt" else "llama.cpp"
        case = "choices" if who == "opt" else "choices " + who
        rows += [(engine, case, "seconds", "%.3f" % s, "s"),
                 (engine, case, "low", "%.3f" % min(wall), "s"),
                 (engine, case, "high", "%.3f" % max(wall), "s"),
                 (engine, case, "cpu_seconds", "%.3f" % c, "s")]
    if a.csv:
        peer_rows.save(a.csv, os.path.basename(a.model), a.threads, rows)


if __name__ == "__main__":
    main()
