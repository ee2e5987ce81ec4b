#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `gemma4 serve` against `gemma4 eval`, with lm-evaluation-harness as the client.

lm-eval 0.4.13's local-completions model asks the server, on the same files and the same model that
`gemma4 eval` reads by itself.  Compared: hashes of documents and prompts, each log-likelihood and
its greedy flag (the same bits are wanted), generated answers, scores, means.  With lm-eval's Hugging
Face tokenizer (a <bos> in front), and with the server's own, which lm-eval asks for ids without
special tokens: that is `eval --bos off`, or, where the server has --bos-ids, `eval`.
Wants lm-eval (pip install lm-eval[api]==0.4.13) besides golden/requirements.txt.
usage: check_serve.py --program build/gemma4 --model DIR --data DIR [--task mmlu] [--shots N]
"""
import argparse
import contextlib
import logging
import subprocess
import sys
import tempfile
import time

import check_eval
import hf_setup  # noqa: F401
import lm_eval
from lm_eval.models.openai_completions import LocalCompletionsAPI


@contextlib.contextmanager
def serving(a, *more):
    server = subprocess.Popen([a.program, "serve", "--model", a.model, "--port", "0", "--engine",
                               "ref", "--threads", "1", "--ctx", "4200", *more], stdout=subprocess.PIPE,
                              text=True)
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        if server.wait() != 0:
            sys.exit(f"the server ended with {server.returncode}")


def make_client(url, folder, backend, batch, concurrent):
    lm = LocalCompletionsAPI(base_url=url + "/v1/completions", model=folder,
                             tokenizer_backend=backend, add_bos_token=backend == "huggingface",
                             batch_size=batch, num_concurrent=concurrent, max_length=4096,
                             max_retries=1)
    if backend == "huggingface":
        if lm.tok_encode("a")[0] != lm.tokenizer.bos_token_id:
            from tokenizers.processors import TemplateProcessing
            lm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                single="<bos> $A", special_tokens=[("<bos>", lm.tokenizer.bos_token_id)])
    return lm


def run_theirs(tasks, lm, a):
    for t in tasks.values():
        t.set_config(key="num_fewshot", value=a.shots)
        if t.config.generation_kwargs:
            t.config.generation_kwargs["max_gen_toks"] = a.max_tokens
    return lm_eval.simple_evaluate(model=lm, tasks=list(tasks.values()), limit=a.limit,
                                   log_samples=True, bootstrap_iters=0, verbosity="ERROR")


def make_tasks(a):
    if a.task in check_eval.OTHERS:
        return check_eval.make_task(a.task, a.data)
    read = check_eval.read_mmlu if a.task == "mmlu" else check_eval.read_pro
    return check_eval.make_tasks(a.task, read(a.data))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--program", required=True)
    ap.add_argument("--model", required=True)
    ap.add_argument("--data", required=True)
    ap.add_argument("--task", default="mmlu", choices=[
        "mmlu", "mmlu_pro", *(t for t in check_eval.OTHERS if t != "wikitext")])
    ap.add_argument("--shots", type=int, default=5)
    ap.add_argument("--limit", type=int)
    ap.add_argument("--max-tokens", type=int, default=24)
    ap.set_defaults(chat="plain")
    a = ap.parse_args()
    logging.disable(logging.WARNING)
    check_eval.BOUND = 0.0
    tally = check_eval.Tally()
    for backend, bos, more, batch, concurrent in (
            ("huggingface", "auto", [], 4, 1), ("remote", "off", [], 1, 4),
            ("remote", "auto", ["--bos-ids"], 8, 2)):
        with tempfile.TemporaryDirectory() as out:
            ours, samples = check_eval.run_ours(a, a.data, out, "--bos", bos)
        with serving(a, *more) as url:
            begin = time.monotonic()
            theirs = run_theirs(make_tasks(a), make_client(url, a.model, backend, batch, concurrent),
                                a)
            took = time.monotonic() - begin
        check_eval.compare(ours, samples, theirs, tally)
        print(f"{a.task}, {a.shots} shots, {backend} tokenizer, --bos {bos}: {took:.0f} s,",
              sum(tally.unequal.values()), "differ so far", flush=True)
    print("equal:", ", ".join(f"{v} {k}" for k, v in tally.equal.items()))
    print("differ:", ", ".join(f"{v} {k}" for k, v in tally.unequal.items()) or "nothing",
          f"(largest difference of a log-likelihood {tally.worst:.2e})")
    sys.exit(1 if tally.unequal else 0)


if __name__ == "__main__":
    main()
