#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `gemma4 mtp --emulate hf` against Transformers' own assisted generation, round for round.

Transformers reports nothing about its rounds, so its candidate generator is watched: how many
tokens were cached, which were drafted, how many of them were accepted.  Greedy, rounds of one
length, float32; prompts are the beginnings of texts of several sorts, shorter and longer than the
window.  Where the two differ, the logits that decided it must be closer than rounding could be
held apart; the rest of that text is not compared then, and at most one text in 50 may end so.
It also says how many drafts the stale keys cost (PAPER_NOTES [N18]): the same rounds without them.
usage: check_mtp.py --program build/gemma4 [--model golden/miniature] [--count N] [--lengths 2,4]
"""
import argparse
import json
import os
import subprocess
import tempfile

import hf_setup  # noqa: F401
import hf_model
import h5py
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS = 64


def read_lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def prompts(folder, count):
    """Ids: a quarter of a text, and every fourth behind two whole others, past the window."""
    from transformers import AutoTokenizer
    tok = AutoTokenizer.from_pretrained(folder)
    rows = read_lines(os.path.join(folder, "eval", "domains.jsonl"))
    domains = list(dict.fromkeys(r["domain"] for r in rows))
    by = {d: [r["text"] for r in rows if r["domain"] == d] for d in domains}
    out = []
    for i in range(count):
        texts = by[domains[i % len(domains)]]
        own = tok(texts[i // len(domains) % len(texts)], add_special_tokens=False).input_ids
        head = []
        if i % 4 == (i // len(domains)) % 4:
            for k in (1, 2):
                head += tok(texts[(i + k) % len(texts)] + "\n", add_special_tokens=False).input_ids
        out.append([tok.bos_token_id, *head, *own[:max(8, len(own) // 4)]])
    return out


class Watch:
    """Rounds of one text: [cached tokens, drafted ids, tokens that it gave the text]."""

    def __init__(self):
        from transformers.generation import candidate_generator as module
        self.rounds = []
        kind = module.SinglePositionMultiTokenCandidateGenerator
        original = kind.get_candidates

        def get_candidates(generator, input_ids, **kw):
            ids, logits = original(generator, input_ids, **kw)
            if not kw["is_first_iteration"]:
                n = input_ids.shape[1]
                self.rounds.append([n - 1, ids[0, n:].tolist(), logits])
            return ids, logits
        kind.get_candidates = get_candidates


def theirs(model, drafter, watch, ids, length):
    import copy
    config = copy.deepcopy(model.generation_config)
    config.update(do_sample=False, temperature=None, top_k=None, top_p=None,
                  max_new_tokens=TOKENS)
    drafter.generation_config.num_assistant_tokens = length
    watch.rounds = []
    x = torch.tensor([ids])
    made = model.generate(input_ids=x, attention_mask=torch.ones_like(x), generation_config=config,
                          assistant_model=drafter)[0, len(ids):].tolist()
    ends = [r[0] + 1 for r in watch.rounds[1:]] + [len(ids) + len(made)]
    return made, [(r[0], r[1], end - r[0] - 1, r[2]) for r, end in zip(watch.rounds, ends)]


def ours(program, model, data, length, out, way):
    command = [program, "mtp", "--model", model, "--data", data, "--max-draft", str(length),
               "--max-tokens", str(TOKENS), "--engine", "ref", "--mask", "causal", "--out", out]
    subprocess.run(command + (["--emulate", way] if way else []), check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    texts = []
    with h5py.File(os.path.join(out, "rounds.h5")) as f:
        r = {k: v[()] for k, v in f["rounds"].items()}
        drafts, t = f["drafts/id"][()], {k: v[()] for k, v in f["texts"].items()}
    for i in range(len(t["first"])):
        rows = np.nonzero(r["prompt"] == i)[0]
        made = t["ids"][t["first"][i]:t["first"][i] + t["tokens"][i]].tolist()
        texts.append((made, [(int(r["cached"][k]),
                              drafts[r["first"][k]:r["first"][k] + r["drafted"][k]].tolist(),
                              int(r["written"][k])) for k in rows]))
    return texts


def near_tie(their, our):
    """The first draft that differs was a near tie of the drafter's."""
    for i, (a, b) in enumerate(zip(their[1], our[1])):
        if a != b:
            top = their[3][0, i].topk(2).values
            return float(top[0] - top[1]) < 1e-3
    return False


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--program", required=True)
    ap.add_argument("--model", default=os.path.join(HERE, "miniature"))
    ap.add_argument("--count", type=int, default=24)
    ap.add_argument("--lengths", default="2,4")
    a = ap.parse_args()
    model = hf_model.load_model(a.model, torch.float32)
    drafter = hf_model.load_drafter(os.path.join(a.model, "assistant"), torch.float32)
    window = model.config.get_text_config().sliding_window
    watch, ids = Watch(), prompts(a.model, a.count)
    compared = different = ties = above = 0
    with tempfile.TemporaryDirectory() as tmp:
        data = os.path.join(tmp, "prompts.jsonl")
        with open(data, "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"ids": p}) + "\n" for p in ids)
        for length in map(int, a.lengths.split(",")):
            hf = ours(a.program, a.model, data, length, os.path.join(tmp, f"hf{length}"), "hf")
            clean = ours(a.program, a.model, data, length, os.path.join(tmp, f"own{length}"), None)
            drafted = accepted = 0
            for i, p in enumerate(ids):
                made, rounds = theirs(model, drafter, watch, p, length)
                if made != hf[i][0] or made != clean[i][0]:
                    print(f"length {length}, text {i}: another text")
                    different += 1
                    continue
                for k, (their, our) in enumerate(zip(rounds, hf[i][1])):
                    compared += 1
                    above += their[0] > window
                    if tuple(their[:3]) == our:
                        continue
                    if near_tie(their, our):
                        ties += 1
                    else:
                        different += 1
                        print(f"length {length}, text {i}, round {k}: {their[:3]} against {our}")
                    break
                else:
                    different += len(rounds) != len(hf[i][1])
                drafted += sum(len(r[1]) for r in rounds)
                accepted += sum(r[2] - 1 for r in rounds)
            own = [r for t in clean for r in t[1]]
            print(f"length {length}: Transformers accepts {accepted} of {drafted} drafts "
                  f"({accepted / drafted:.4f}); on verified keys alone "
                  f"{sum(r[2] - 1 for r in own)} of {sum(len(r[1]) for r in own)} "
                  f"({sum(r[2] - 1 for r in own) / sum(len(r[1]) for r in own):.4f})")
    print(f"{compared} rounds compared, {above} of them past the window; {different} differ, "
          f"{ties} texts ended in a near tie")
    raise SystemExit(different > 0 or ties * 50 > 2 * len(ids) or not above)


if __name__ == "__main__":
    main()
