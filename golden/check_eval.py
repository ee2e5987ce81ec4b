#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `gemma4 eval` against lm-evaluation-harness itself, on the same files and the same model.

lm-eval 0.4.13 reads its own task definitions (only where the data come from is replaced: the
folder's files, read by Python's csv and json) and runs the checkpoint through Transformers in
float32.  Compared: each document's hash, prompt hash and target hash, the task's hash, each
log-likelihood and its greedy flag, generated answers and what the filter finds in them, means and
standard errors of subjects and groups; with --chat as turns of the model's chat template, too.
Wants lm-eval (pip install lm-eval==0.4.13) besides
golden/requirements.txt.
Without --data: every task on made-up questions of its published layout (make_eval_data.py).
usage: check_eval.py --program build/gemma4 --model DIR [--data DIR] [--task mmlu] [--shots N]
"""
import argparse
import csv
import glob
import hashlib
import importlib
import importlib.resources
import json
import logging
import os
import random
import subprocess
import sys
import tempfile

import hf_setup  # noqa: F401
import make_eval_data
import numpy as np
import torch


def read_mmlu(data):
    """subject -> split -> documents as the published data set has them"""
    out = {}
    for path in sorted(glob.glob(os.path.join(data, "test", "*_test.csv"))):
        subject = os.path.basename(path)[:-len("_test.csv")]
        for split in ("dev", "test"):
            name = os.path.join(data, split, f"{subject}_{split}.csv")
            with open(name, encoding="utf-8", newline="") as f:
                out.setdefault(subject, {})[split] = [
                    {"question": r[0], "subject": subject, "choices": r[1:5],
                     "answer": "ABCD".index(r[5])} for r in csv.reader(f)]
    return out


def read_pro(data):
    out = {}
    for split in ("validation", "test"):
        with open(os.path.join(data, f"{split}.jsonl"), encoding="utf-8") as f:
            for line in f:
                doc = json.loads(line)
                out.setdefault(doc["category"], {}).setdefault(split, []).append(doc)
    return {c: s for c, s in out.items() if "test" in s}


def make_tasks(task, subjects):
    """lm-eval's own template with our documents: name -> task object."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks.mmlu_pro import utils as pro
    root = importlib.resources.files("lm_eval") / "tasks"
    folder = {"mmlu": root / "mmlu" / "default", "mmlu_pro": root / "mmlu_pro"}[task]
    text = (folder / "_default_template_yaml").read_text()
    import yaml
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda ld, node: getattr(pro, node.value.split(".")[1]))
    out = {}
    for subject, splits in subjects.items():
        config = yaml.load(text, loader)
        config["task"] = f"{task}_{subject.replace(' ', '_')}"
        line = ("The following are multiple choice questions (with answers) about "
                f"{subject.replace('_', ' ') if task == 'mmlu' else subject}.")
        config["description"] = line + ("\n\n" if task == "mmlu" else (
            " Think step by step and then finish your answer with \"the answer is (X)\" where X is "
            "the correct letter choice.\n"))
        held = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in splits.items()})
        config["custom_dataset"] = lambda held=held, **kw: held
        out[config["task"]] = ConfigurableTask(config=config)
    return out


OTHERS = {   # where lm-eval keeps the task, its split, the module of its functions
    "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag.utils"),
    "arc_easy": ("arc/arc_easy.yaml", None), "arc_challenge": ("arc/arc_easy.yaml", None),
    "winogrande": ("winogrande/default.yaml", "winogrande.preprocess_winogrande"),
    "piqa": ("piqa/piqa.yaml", None), "boolq": ("super_glue/boolq/default.yaml", None),
    "gsm8k": ("gsm8k/gsm8k.yaml", None),
    "wikitext": ("wikitext/wikitext.yaml", "wikitext.preprocess_wikitext"),
    "gpqa_diamond_zeroshot": ("gpqa/zeroshot/_gpqa_zeroshot_yaml", "gpqa.zeroshot.utils"),
    "gpqa_diamond_cot_zeroshot": ("gpqa/cot_zeroshot/_gpqa_cot_zeroshot_yaml",
                                  "gpqa.cot_zeroshot.utils"),
}


def read_splits(task, data, cache):
    """split -> documents.  GPQA's as its data set is loaded: its answers are shuffled when they are
    first asked for, and that is kept where the data lie on the disk."""
    import datasets
    if task in make_eval_data.GPQA:
        return datasets.load_dataset("csv", cache_dir=cache, data_files={
            "train": os.path.join(data, "gpqa_diamond.csv")})
    held = datasets.DatasetDict()
    for split in ("test",) if task == "wikitext" else ("train", make_eval_data.SPLITS[task]):
        with open(os.path.join(data, split + ".jsonl"), encoding="utf-8") as f:
            held[split] = datasets.Dataset.from_list([json.loads(line) for line in f])
    return held


def make_task(task, data, cache=None):
    import yaml
    from lm_eval.api.task import ConfigurableTask
    name, module = OTHERS[task]
    functions = importlib.import_module("lm_eval.tasks." + module) if module else None
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function",
                           lambda ld, node: getattr(functions, node.value.split(".")[1]))
    text = (importlib.resources.files("lm_eval") / "tasks" / name).read_text()
    config = yaml.load(text, loader)
    config.pop("tag", None)
    if task == "wikitext":
        config.pop("training_split"), config.pop("validation_split")
    config["task"] = task
    held = read_splits(task, data, cache)
    config["custom_dataset"] = lambda **kw: held
    random.seed(0)   # as simple_evaluate does before it makes tasks
    return {task: ConfigurableTask(config=config)}


# How prompts are framed: lm-eval's arguments, the model's, ours.  Thinking is for texts alone.
PLAIN = ({}, {}, [])
SYSTEM = "Answer as well as you can."
CHATS = {
    "plain": PLAIN,
    "system": ({"system_instruction": SYSTEM}, {}, ["--system", SYSTEM]),
    "turns": ({"apply_chat_template": True, "fewshot_as_multiturn": True}, {}, ["--chat-template"]),
    "one_turn": ({"apply_chat_template": True, "fewshot_as_multiturn": False,
                  "system_instruction": SYSTEM}, {},
                 ["--chat-template", "--fewshot-as-multiturn", "off", "--system", SYSTEM]),
    "thinking": ({"apply_chat_template": True, "fewshot_as_multiturn": True},
                 {"enable_thinking": True}, ["--chat-template", "--thinking", "on"]),
}
TEXTS = ("mmlu_pro", "gsm8k", "gpqa_diamond_cot_zeroshot")


def run_theirs(tasks, a):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    from hf_model import load_model
    model, tokenizer = load_model(a.model, torch.float32), AutoTokenizer.from_pretrained(a.model)
    bos, (how, of_model, _) = tokenizer.bos_token_id, CHATS[a.chat]
    if of_model:
        of_model = {**of_model, "think_end_token": tokenizer.convert_tokens_to_ids("<channel|>")}
    # as --bos auto: once, always; rolling windows have one of their own, a template writes it
    if a.task != "wikitext" and not how.get("apply_chat_template") and \
            tokenizer("a").input_ids[0] != bos:
        from tokenizers.processors import TemplateProcessing
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", bos)])
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu", dtype="float32",
              softmax_dtype="float32", max_length=a.ctx if a.task == "wikitext" else 4096,
              **of_model)
    for t in tasks.values():
        t.set_config(key="num_fewshot", value=a.shots)
        if t.config.generation_kwargs:
            t.config.generation_kwargs["max_gen_toks"] = a.max_tokens
    return lm_eval.simple_evaluate(model=lm, tasks=list(tasks.values()), limit=a.limit,
                                   log_samples=True, bootstrap_iters=100000, verbosity="ERROR",
                                   **how)


def run_ours(a, data, out, *more):
    command = [a.program, "eval", "--model", a.model, "--task", a.task, "--data", data,
               "--shots", str(a.shots), "--out", out, "--engine", "ref", "--threads", "1"]
    command += ["--limit", str(a.limit)] if a.limit else []
    command += ["--max-tokens", str(a.max_tokens), *CHATS[a.chat][2], *more]
    command += ["--ctx", str(a.ctx)] if a.task == "wikitext" else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(glob.glob(os.path.join(out, "*", "results_*.json"))[0], encoding="utf-8") as f:
        results = json.load(f)
    samples = {}
    for name in results["n-shot"]:
        with open(glob.glob(os.path.join(out, "*", f"samples_{name}_*.jsonl"))[0],
                  encoding="utf-8") as f:
            samples[name] = [json.loads(line) for line in f]
    return results, samples


# Two float32 engines' logits differ by at most 5e-4 of themselves (harness/compare.h), and they lie
# within the softcap, +-30; a log-softmax moves by at most twice what its logits move.  Letters are
# one token.  What is really found is printed: 1e-5 to 1e-4.
BOUND = 2 * 5e-4 * 30
PAGE = 30   # the square root of a page's tokens, whose errors are of either sign


class Tally:
    def __init__(self):
        self.equal, self.unequal, self.worst = {}, {}, 0.0

    def same(self, what, ours, theirs, where):
        good = ours == theirs
        side = self.equal if good else self.unequal
        side[what] = side.get(what, 0) + 1
        if not good and self.unequal[what] <= 3:
            print(f"DIFFERS {where} {what}:\n  ours   {ours!r:.300}\n  theirs {theirs!r:.300}")

    def near(self, what, ours, theirs, bound, where):
        d = abs(float(ours) - float(theirs))
        self.worst = max(self.worst, d)
        self.same(what, d <= bound, True, f"{where} {ours} {theirs}")


def compare(ours, our_samples, theirs, tally):
    for name, mine in our_samples.items():
        rows = {(s["doc_id"], s["filter"]): s for s in theirs["samples"][name]}
        tally.same("documents", len(mine), len(rows), name)
        for m in mine:
            t, where = rows[m["doc_id"], m["filter"]], f"{name} {m['doc_id']}"
            for key in ("doc_hash", "prompt_hash", "target_hash", "target"):
                tally.same(key, m[key], str(t[key]), where)
            args = {f"gen_args_{i}": a for i, a in enumerate(t["arguments"])}
            for key, a in args.items():
                mine = list(m["arguments"][key].values())
                n = 2 if isinstance(mine[-1], str) else 1   # how a text is generated is not held
                tally.same("arguments", mine[:n], list(a)[:n], where)
            if m["arguments"]["gen_args_0"].get("arg_1") is None:   # a page
                tally.near("log-likelihood", m["filtered_resps"][0], t["filtered_resps"][0],
                           BOUND * PAGE, where)
            elif len(m["resps"]) > 1:
                for k, (o, h) in enumerate(zip(m["filtered_resps"], t["filtered_resps"])):
                    tally.near("log-likelihood", o[0], h[0], BOUND, f"{where} choice {k}")
                    tally.same("is_greedy", o[1], str(bool(h[1])), f"{where} choice {k}")
            else:
                tally.same("response", m["resps"][0][0], t["resps"][0][0], where)
                tally.same("filtered", m["filtered_resps"][0], t["filtered_resps"][0], where)
            tally.same("metrics", m["metrics"], t["metrics"], where)
            for metric in m["metrics"]:
                if isinstance(m[metric], list):   # a log-likelihood and words or bytes
                    tally.same(metric, m[metric][1], t[metric][1], where)
                else:
                    tally.same(metric, float(m[metric]), float(t[metric]), where)
        row = theirs["results"][name]
        for key, v in ours["results"][name].items():
            if "," in key and isinstance(v, float) and isinstance(row.get(key), float):
                if ours["higher_is_better"][name][key.split(",")[0].removesuffix("_stderr")]:
                    tally.same(key, round(v, 12), round(row[key], 12), name)
                else:   # perplexities, as exact as their sums of log-likelihoods
                    tally.same(key, abs(v - row[key]) <= 1e-6 * v, True, f"{name} {v} {row[key]}")


def write_hashes(a, theirs):
    """A line a subject: what results' task_hashes say, for a test without Python."""
    with open(a.hashes, "a", encoding="utf-8") as f:
        for name, samples in theirs["samples"].items():
            text = "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples)
            f.write(f"{a.chat} {a.task} {a.shots} {name} {hashlib.sha256(text.encode()).hexdigest()}\n")


def hold(a, data, tally):
    with tempfile.TemporaryDirectory() as cache:
        if a.task in OTHERS:
            tasks = make_task(a.task, data, cache)
        else:
            tasks = make_tasks(a.task, read_mmlu(data) if a.task == "mmlu" else read_pro(data))
        theirs = run_theirs(tasks, a)
    with tempfile.TemporaryDirectory() as out:
        ours, samples = run_ours(a, data, out)
    compare(ours, samples, theirs, tally)
    if a.hashes:
        write_hashes(a, theirs)


def runs(a):
    """Framings and numbers of examples that a task is held in."""
    plain = (0,) if a.task in make_eval_data.GPQA + ("wikitext",) else (0, 5) if "mmlu" in a.task \
        else (0, 3)
    out = [("plain", shots) for shots in plain]
    if a.task != "wikitext" and not a.plain:
        out += [(chat, plain[-1]) for chat in ("system", "turns", "one_turn")]
        out += [("thinking", plain[-1])] if a.task in TEXTS else []
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--program", required=True)
    ap.add_argument("--model", required=True)
    ap.add_argument("--data")
    ap.add_argument("--task", choices=["mmlu", "mmlu_pro", *OTHERS],
                    help="with --data, mmlu by default; without, all of them")
    ap.add_argument("--shots", type=int, default=5, help="with --data")
    ap.add_argument("--chat", choices=CHATS, default="plain", help="with --data")
    ap.add_argument("--plain", action="store_true", help="without --data: no chat template")
    ap.add_argument("--limit", type=int)
    ap.add_argument("--max-tokens", type=int, default=24)
    ap.add_argument("--ctx", type=int, default=96, help="wikitext's windows")
    ap.add_argument("--count", type=int, default=60, help="questions a task, without --data")
    ap.add_argument("--hashes", help="append lm-eval's task hashes to this file")
    a = ap.parse_args()
    logging.disable(logging.WARNING)
    tally = Tally()
    if a.data:
        a.task = a.task or "mmlu"
        hold(a, a.data, tally)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for a.task in [a.task] if a.task else ["mmlu", "mmlu_pro", *OTHERS]:
                data = os.path.join(folder, a.task)
                make_eval_data.make(data, a.task, a.count, 1)
                for a.chat, a.shots in runs(a):
                    hold(a, data, tally)
                    print(a.task, a.chat, a.shots, "shots:", sum(tally.unequal.values()),
                          "differ so far", flush=True)
    print("equal:", ", ".join(f"{v} {k}" for k, v in tally.equal.items()))
    print("differ:", ", ".join(f"{v} {k}" for k, v in tally.unequal.items()) or "nothing",
          f"(largest difference of a log-likelihood {tally.worst:.2e})")
    sys.exit(1 if tally.unequal else 0)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
