#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `gemma4 perplexity` and `gemma4 kl` against Transformers and llama-perplexity.

Transformers: lm-eval's rolling windows, cut here once more; the negative log-likelihood of each
token by float32 log-softmaxes in float64 is to lie within 1e-3 nats (the bound of evaluations).
llama-perplexity (--llama BIN): the model in F32 is the base, the candidate has every matrix
jittered; of both, down_proj is zero, so that its table of GELU in float16 [N80] counts for nothing
and both engines compute in float32.  Our figures against its base file are to be those that it
prints, but for its last digit and its sums' own float32; and it is to read the base file that we
write.
usage: check_kl.py [--gemma4 build/gemma4] [--model golden/miniature] [--llama BIN]"""
import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

CTX, BOUND = 128, 1e-3
FIGURES = 30   # that llama-perplexity prints at least, ours among them
FLOAT32 = 32 * 2.0 ** -23   # nats: log-probabilities down to -32, each a few roundings off


def call(*words):
    r = subprocess.run(words, capture_output=True, text=True, check=False)
    if r.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-500:]}")
    return r.stdout


def windows(tokens, bos, ctx):
    """[what is read, what is predicted], as lm-eval's rolling windows with one token of context."""
    first = tokens[:ctx]
    yield [bos, *first[:-1]], first
    for done in range(ctx, len(tokens), ctx):
        new = tokens[done:done + ctx]
        end = done + len(new)
        yield tokens[end - ctx - 1:end - 1], new


def check_transformers(a, text, work):
    import hf_setup  # noqa: F401
    import hf_model
    import torch
    out = os.path.join(work, "out")
    r = json.loads(call(a.gemma4, "perplexity", "--model", a.model, "--engine", "ref", "--data",
                        text, "--windows", "lm-eval", "--ctx", str(CTX), "--json", "--out", out))
    with open(os.path.join(out, "tokens.csv"), encoding="utf-8") as f:
        ours = [(int(row["id"]), float(row["nll"])) for row in csv.DictReader(f)]
    with open(text, encoding="utf-8") as f:
        data = f.read()
    ids = json.loads(call(a.gemma4, "tokens", "--model", a.model, "--text", data, "--json"))["ids"]
    model, theirs = hf_model.load_model(a.model, torch.float32), []
    with torch.no_grad():
        for read, predicted in windows(ids[1:], ids[0], CTX):
            logits = model(input_ids=torch.tensor([read])).logits[0].double()
            lp = torch.log_softmax(logits, -1)[-len(predicted):]
            theirs += [(i, -float(p[i])) for i, p in zip(predicted, lp)]
    worst = max(abs(x[1] - y[1]) for x, y in zip(ours, theirs))
    words, size = len(re.split(r"\s+", data)), len(data.encode())
    total = sum(nll for _, nll in theirs)
    want = [np.exp(total / n) for n in (len(theirs), words, size)]
    got = [r[k]["value"] for k in ("token_perplexity", "word_perplexity", "byte_perplexity")]
    good = [i for i, _ in ours] == [i for i, _ in theirs] and worst < BOUND and np.allclose(
        got, want, rtol=1e-4 * len(theirs) / words)
    print(("ok       " if good else "DIFFERS  ") + f"Transformers: {len(theirs)} tokens, worst "
          f"{worst:.1e} nats; perplexity by token, word, byte " +
          ", ".join(f"{x:.6f} and {y:.6f}" for x, y in zip(got, want)))
    return good


def jitter(source, out, by):
    """A copy whose matrices are off by a share of each weight, and down_proj is zero."""
    import gguf
    shutil.copyfile(source, out)
    reader, rng = gguf.GGUFReader(out, "r+"), np.random.default_rng(0)
    for t in reader.tensors:
        if t.name.startswith("blk.") and len(t.shape) == 2:
            t.data[:] = 0 if ".ffn_down." in t.name else \
                t.data * (1 + by * rng.standard_normal(t.data.shape))
    reader.data.flush()


def printed(text):
    """name -> (value, half of its last digit)"""
    found = {}
    for line in text.splitlines():
        m = re.match(r"(.+?)\s*:\s+(-?\d+\.(\d+))", line)
        if m:
            found[re.sub(r"\s+", " ", m[1])] = (float(m[2]), 0.5 * 10.0 ** -len(m[3]))
    return found


def check_llama(a, text, work):
    whole, f32, other = (os.path.join(work, f"{k}.gguf") for k in ("whole", "f32", "jitter"))
    call(a.gemma4, "quantize", "--model", a.model, "--type", "f32", "--out", whole)
    jitter(whole, f32, 0.0)
    jitter(whole, other, 0.3)
    base = {"theirs": os.path.join(work, "theirs.dat"), "ours": os.path.join(work, "ours.dat")}
    log = os.path.join(work, "log")

    def llama(model, file, *more):
        if os.path.exists(log):
            os.remove(log)
        return call(a.llama, "-m", model, "-f", text, "-c", str(CTX), "-b", str(CTX), "-t", "1",
                    "-ctk", "f32", "-ctv", "f32", "-fa", "off", "--kl-divergence-base", file,
                    "--log-file", log, *more)

    def figures(file):
        """Its log loses what was not yet written when it ends: now and then all figures."""
        for _ in range(10):
            text = llama(other, file, "--kl-divergence")
            with open(log, encoding="utf-8") as f:
                p = printed(text + f.read())
            if len(p) >= FIGURES:
                return p
        raise SystemExit("llama-perplexity prints no figures")
    llama(f32, base["theirs"])
    call(a.gemma4, "kl", "--model", f32, "--engine", "ref", "--save", base["ours"], "--data", text,
         "--windows", "halves", "--ctx", str(CTX))
    failed = 0
    for who, file in base.items():
        p = figures(file)
        r = json.loads(call(a.gemma4, "kl", "--model", other, "--reference", file, "--json"))
        for name, value in (
                ("Mean PPL(Q)", r["token_perplexity"]["value"]),
                ("Mean PPL(base)", r["reference_perplexity"]["value"]),
                ("Mean PPL(Q)/PPL(base)", r["perplexity_ratio"]["value"]),
                ("Mean ln(PPL(Q)/PPL(base))", r["log_perplexity_ratio"]["value"]),
                ("Mean KLD", r["kl"]["mean"]["value"]), ("Maximum KLD", r["kl"]["max"]),
                ("99.0% KLD", r["kl"]["p99"]["value"]), ("95.0% KLD", r["kl"]["p95"]["value"]),
                ("90.0% KLD", r["kl"]["p90"]["value"]), ("Median KLD", r["kl"]["median"]["value"]),
                ("RMS Δp", 100 * r["rms_dp"]["value"]),
                ("Same top p", 100 * r["top1_agreement"]["value"])):
            want, digit = p[name]
            good = abs(value - want) <= digit + FLOAT32 * max(1.0, abs(want))
            failed += not good
            print(("ok       " if good else "DIFFERS  ") +
                  f"{who} base: {name} {value:.7g}, llama-perplexity {want:.7g}")
    return not failed


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gemma4", default="build/gemma4")
    p.add_argument("--model", default="golden/miniature")
    p.add_argument("--llama", help="llama-perplexity")
    p.add_argument("--texts", type=int, default=60)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = os.path.join(work, "text.txt")
        with open(os.path.join(a.model, "eval", "domains.jsonl"), encoding="utf-8") as f:
            lines = [json.loads(line)["text"].replace("\n", " ") for line in f][:a.texts]
        with open(text, "w", encoding="utf-8") as f:
            f.write(" ".join(lines) + "\n")
        good = check_transformers(a, text, work)
        if a.llama:
            good = check_llama(a, text, work) and good
    print("agrees" if good else "differs")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
