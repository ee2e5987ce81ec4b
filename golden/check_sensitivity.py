#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recomputes points of `gemma4 sensitivity` with Transformers and the gguf package's quantizers.

Twenty single tensors of the miniature, spread over kinds and layers, each rounded by gguf to one
of five formats; the reference and the rounded model run in float32, KL is summed in float64.
Four of the formats are the simulated s4b32, a4b32, s5b32 and a5b32, which are to be gguf's values
bit for bit; q8_0 is packed by our own search.  A KL may differ by 5 %.
usage: check_sensitivity.py [--gemma4 build/gemma4] [--model golden/miniature] [--texts N]"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile

import hf_setup  # noqa: F401
import gguf
import hf_model
import torch

BOUND = 0.05
FORMATS = {"s4b32": "Q4_0", "a4b32": "Q4_1", "s5b32": "Q5_0", "a5b32": "Q5_1", "q8_0": "Q8_0"}
KINDS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "ffn_gate": "mlp.gate_proj",
         "attn_output": "self_attn.o_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def call(*words):
    r = subprocess.run(words, capture_output=True, text=True, check=False)
    if r.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-500:]}")
    return r.stdout


def points(layers):
    """(tensor, parameter, type): every kind, every layer and every format among them."""
    kinds, types = list(KINDS), list(FORMATS)
    for i in range(20):
        if i % 10 == 9:
            yield "token_embd", "embed_tokens.weight", types[i // 10 * 2]
            continue
        layer, kind = i % layers, kinds[i * 5 % len(kinds)]
        yield f"blk.{layer}.{kind}", f"layers.{layer}.{KINDS[kind]}.weight", types[i % 5]


def log_probs(model, texts):
    with torch.no_grad():
        return [torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, :-1].double(), -1)
                for ids in texts]


def parameter(model, name):
    found = [p for n, p in model.named_parameters() if n.endswith(name)]
    assert len(found) == 1, (name, len(found))
    return found[0]


def rounded(x, name):
    kind = gguf.GGMLQuantizationType[name]
    return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(x.numpy(), kind), kind))


def ours(a, data, out, types):
    call(a.gemma4, "sensitivity", "--model", a.model, "--types", ",".join(types), "--by", "tensor",
         "--data", data, "--out", out)
    with open(os.path.join(out, "points.csv"), newline="", encoding="utf-8") as f:
        return {(r["what"], r["type"]): r for r in csv.DictReader(f) if r["domain"] == "all"}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = os.path.dirname(os.path.abspath(__file__))
    p.add_argument("--gemma4", default=os.path.join(here, "..", "build", "gemma4"))
    p.add_argument("--model", default=os.path.join(here, "miniature"))
    p.add_argument("--texts", type=int, default=12)
    a = p.parse_args()
    torch.set_num_threads(2)
    with open(os.path.join(here, "miniature", "eval", "domains.jsonl"), encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f]
    texts = texts[::len(texts) // a.texts][:a.texts]
    with tempfile.TemporaryDirectory() as work:
        data = os.path.join(work, "d.jsonl")
        with open(data, "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
        table = ours(a, data, os.path.join(work, "out"), FORMATS)
        ids = [json.loads(call(a.gemma4, "tokens", "--model", a.model, "--text", t, "--bos", "auto",
                               "--json"))["ids"] for t in texts]
    model = hf_model.load_model(a.model, torch.float32)
    before = log_probs(model, ids)
    tokens, worst = sum(len(x) for x in before), 0.0
    for tensor, name, kind in points(model.config.text_config.num_hidden_layers):
        weight = parameter(model, name)
        kept, weight.data = weight.data, rounded(weight.data, FORMATS[kind])
        error = float((weight.data - kept).double().norm() / kept.double().norm())
        kl = sum(float((q.exp() * (q - z)).sum()) for q, z in zip(before, log_probs(model, ids)))
        weight.data = kept
        row = table[tensor, kind]
        off = float(row["kl"]) / (kl / tokens) - 1.0
        worst = max(worst, abs(off))
        print(f"{tensor:18s} {kind:6s} KL {kl / tokens:.6e}, here {float(row['kl']):.6e}, "
              f"{100 * off:+.3f} %; weights {error:.6e}, here {float(row['weight_error']):.6e}",
              flush=True)
        assert int(row["tokens"]) == tokens, (row["tokens"], tokens)
        if kind != "q8_0" and abs(float(row["weight_error"]) / error - 1.0) > 1e-5:
            sys.exit(f"{tensor} {kind}: other rounded weights than gguf's")
    print(f"20 points, {tokens} tokens: the furthest differs by {100 * worst:.3f} %")
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
