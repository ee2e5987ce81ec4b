#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the miniature's examination papers, from what its generators never show in training.

    mini_eval.py write  [--out golden/miniature/eval]    the papers that are in git
    mini_eval.py render [--eval DIR] --out DIR           media.jsonl as files: what `gemma4 eval
                                                         --task requests --data DIR` reads

    data/{dev,val,test}/<subject>_{dev,val,test}.csv     MMLU's layout: no header, RFC 4180
    pro/{validation,test}.jsonl                          MMLU-Pro's
    media.jsonl                                          recipes for mini_media.render
    requests.jsonl, media/                               a few of those with their files
    tools.jsonl, domains.jsonl                           tool calls; texts of the four domains

All comes from one seed.  Questions are different from each other, at least in their options; where
a generator has too few, the paper is shorter and this program says so.
"""
import argparse
import csv
import json
import os
import shutil

import mini_media
import mini_text
import numpy as np
from make_media import write_wav

HERE = os.path.dirname(os.path.abspath(__file__))
SEED = 2026
TEST, VAL, DEV, PRO_TEST, MEDIA, TOOLS, TEXTS, FILES = 200, 20, 5, 100, 100, 100, 20, 3
# Of a free answer: it ends with <eos> or a line end, and has at most four words.
FREE = {"until": ["\n"], "max_tokens": 12}


def rng_of(*name):
    """A generator of its own for each file: a longer one changes no other."""
    return np.random.Generator(np.random.PCG64([SEED, *"/".join(map(str, name)).encode()]))


def different(draw, n, keys, tries=4000):
    """n of what draw() gives: first with different keys[0], then, if there are too few, keys[1]."""
    out, seen = [], set()
    for key in keys:
        for _ in range(tries):
            if len(out) == n:
                return out
            item = draw()
            if key(item) not in seen:
                seen |= {k(item) for k in keys}
                out.append(item)
    print(f"only {len(out)} of {n}")
    return out


def same_question(q):
    return q["question"]


def same_options(q):
    return q["question"], tuple(sorted(q.get("choices") or q.get("options") or ()))


def write_mmlu(folder):
    for subject in mini_text.SUBJECTS:
        for split, n in (("dev", DEV), ("val", VAL), ("test", TEST)):
            rng = rng_of("mmlu", subject, split)
            rows = different(lambda: mini_text.question(rng, subject, split), n,
                             (same_question, same_options))
            path = os.path.join(folder, "data", split, f"{subject}_{split}.csv")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", newline="", encoding="utf-8") as f:
                csv.writer(f, lineterminator="\n").writerows(
                    [q["question"], *q["choices"], "ABCD"[q["answer"]]] for q in rows)


def write_lines(rows, *path):
    path = os.path.join(*path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def write_pro(folder):
    for split, of, n in (("validation", "val", DEV), ("test", "test", PRO_TEST)):
        rows = []
        for category in mini_text.CATEGORIES:
            rng = rng_of("pro", category, split)
            rows += different(lambda: mini_text.pro_question(rng, category, of), n,
                              (same_question, same_options))
        write_lines([{"question_id": i, **{k: q[k] for k in (
            "question", "options", "answer", "answer_index", "cot_content", "category")},
            "src": "miniature"} for i, q in enumerate(rows)], folder, "pro", f"{split}.jsonl")


def request(recipe, name, folder):
    """The recipe as a line of requests.jsonl; its files go to folder."""
    question, answer = mini_media.prompt(recipe)
    media, marks = [], ""
    for i, part in enumerate(mini_media.media(recipe)):
        if part[0] == "image":
            file = f"media/{name}.png"
            part[1].save(os.path.join(folder, file), optimize=True)
        elif part[0] == "audio":
            file = f"media/{name}.wav"
            write_wav(os.path.join(folder, file), part[1], 1)
        else:
            file = f"media/{name}"
            os.makedirs(os.path.join(folder, file), exist_ok=True)
            for k, (_, frame) in enumerate(part[1]):
                frame.save(os.path.join(folder, file, f"frame{k}.png"), optimize=True)
        media.append([part[0], file])
        marks += f"<|{part[0]}|>"
    line = {"name": recipe["kind"], "prompt": marks + question, "media": media}
    if recipe["choices"]:
        return {**line, "choices": [f" {c}" for c in "ABCD"], "gold": "ABCD".index(answer[1])}
    return {**line, "target": recipe["answer"], **FREE}


def write_requests(recipes, folder):
    shutil.rmtree(os.path.join(folder, "media"), ignore_errors=True)
    os.makedirs(os.path.join(folder, "media"))
    count, lines = {}, []
    for r in recipes:
        i = count[r["kind"]] = count.get(r["kind"], 0) + 1
        lines.append(request(r, f"{r['kind']}_{i:03d}", folder))
    write_lines(lines, folder, "requests.jsonl")


def write_media(folder):
    recipes = []
    for kind in mini_media.KINDS:
        rng = rng_of("media", kind)
        # Drawn as they come: the same shapes and places again are another picture, of another
        # size, shade and place in the cell.
        recipes += [mini_media.plan(rng, kind, "test") for _ in range(MEDIA)]
    write_lines(recipes, folder, "media.jsonl")
    some = [r for k in mini_media.KINDS for r in [r for r in recipes if r["kind"] == k][:FILES]]
    write_requests(some, folder)


def write_texts(folder):
    rng = rng_of("tools")
    write_lines(different(lambda: mini_text.tool_call(rng, "test"), TOOLS,
                          (lambda t: t["user"], lambda t: t["prompt"])), folder, "tools.jsonl")
    rows = []
    for name in mini_text.DOMAINS:
        rng = rng_of("domain", name)
        texts = different(lambda: mini_text.domain(rng, name, "test"), TEXTS, (str, str))
        rows += [{"domain": name, "text": t} for t in texts]
    write_lines(rows, folder, "domains.jsonl")


def read_lines(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("what", choices=["write", "render"])
    ap.add_argument("--eval", default=os.path.join(HERE, "miniature", "eval"))
    ap.add_argument("--out")
    a = ap.parse_args()
    if a.what == "render":
        if not a.out:
            ap.error("render wants --out")
        os.makedirs(a.out, exist_ok=True)
        write_requests(read_lines(a.eval, "media.jsonl"), a.out)
        return
    out = a.out or a.eval
    write_mmlu(out)
    write_pro(out)
    write_media(out)
    write_texts(out)


if __name__ == "__main__":
    main()
