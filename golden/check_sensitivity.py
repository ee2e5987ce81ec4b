#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Recomputes points of `gemma4 sensitivity` with Transformers and the gguf package's quantizers.

Documents are texts, and questions about pictures, a video and sounds, whose answers are predicted.
Single tensors of the miniature, each rounded by gguf to one of five formats: twenty of the text
model, spread over kinds and layers; and each of what embeds pictures and sounds, in two formats,
of the questions that meet it.  The reference and the rounded model run in float32, media come
through Transformers' processor, KL is summed in float64.  Four of the formats are the simulated
s4b32, a4b32, s5b32 and a5b32, which are to be gguf's values bit for bit; q8_0 is packed by our
own search.  A KL may differ by 5 %.
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
import hf_inputs
import hf_model
import torch
from hf_run import embed_video

BOUND = 0.05
FORMATS = {"s4b32": "Q4_0", "a4b32": "Q4_1", "s5b32": "Q5_0", "a5b32": "Q5_1", "q8_0": "Q8_0"}
KINDS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "ffn_gate": "mlp.gate_proj",
         "attn_output": "self_attn.o_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
MEDIA = {"v.patch_embd": ("embed_vision.patch_dense.weight", "picture"),
         "v.position_embd": ("embed_vision.pos_embedding", "picture"),
         "mm.input_projection": ("multimodal_embedder.embedding_projection.weight", "picture"),
         "mm.a.input_projection": ("embed_audio.embedding_projection.weight", "sound")}
ASKED = ("image_color", "image_shape", "image_place", "video_change", "audio_order", "audio_words")
HERE = os.path.dirname(os.path.abspath(__file__))
EVAL = os.path.join(HERE, "miniature", "eval")


def call(*words):
    r = subprocess.run(words, capture_output=True, text=True, check=False)
    if r.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-500:]}")
    return r.stdout


def read_lines(name):
    with open(os.path.join(EVAL, name), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def documents(count):
    """Lines of --data: texts, and of each sort of questions two whose answer is a text."""
    texts = [r["text"] for r in read_lines("domains.jsonl")]
    rows = [{"domain": "text", "text": t} for t in texts[::len(texts) // count][:count]]
    for name in ASKED:
        found = [r for r in read_lines("requests.jsonl") if r["name"] == name and "target" in r]
        rows += [{"domain": "sound" if name.startswith("audio") else "picture",
                  "prompt": r["prompt"], "target": " " + r["target"],
                  "media": [[k, os.path.join(EVAL, f)] for k, f in r["media"]]}
                 for r in found[:2]]
    return rows


def points(layers):
    """(tensor, parameter, type, domain): every kind, layer and format among them."""
    kinds, types = list(KINDS), list(FORMATS)
    for i in range(20):
        if i % 10 == 9:
            yield "token_embd", "embed_tokens.weight", types[i // 10 * 2], "all"
            continue
        layer, kind = i % layers, kinds[i * 5 % len(kinds)]
        yield f"blk.{layer}.{kind}", f"layers.{layer}.{KINDS[kind]}.weight", types[i % 5], "all"
    for i, (tensor, (name, domain)) in enumerate(MEDIA.items()):
        for k in (0, 3):
            yield tensor, name, types[(i + k) % 5], domain


class Document:
    """What the model is given of a line, and how many of the last ids are predicted."""

    def __init__(self, a, row):
        media = row.get("media", [])
        got, _ = hf_inputs.build(a.model, row.get("text", row.get("prompt")), media)
        target = json.loads(call(a.gemma4, "tokens", "--model", a.model, "--text", row["target"],
                                 "--bos", "off", "--json"))["ids"] if "target" in row else []
        n, m = got["input_ids"].shape[1], len(target)
        answer = torch.tensor([target], dtype=torch.long)
        got["input_ids"] = torch.cat([got["input_ids"], answer], 1)
        got["mm_token_type_ids"] = torch.cat([got["mm_token_type_ids"], 0 * answer], 1)
        got["position_ids"] = torch.arange(n + m)[None]
        self.inputs, self.domain, self.scored = got, row["domain"], m or n - 1

    @torch.no_grad()
    def log_probs(self, model):
        window = model.config.get_text_config().sliding_window
        masks = hf_model.make_masks(self.inputs["mm_token_type_ids"][0].tolist(), window,
                                    "official")
        out = model(**embed_video(model.model, self.inputs), use_cache=False,
                    attention_mask=hf_model.additive(masks, torch.float32))
        return torch.log_softmax(out.logits[0, -self.scored - 1:-1].double(), -1)


def parameter(model, name):
    found = [p for n, p in model.named_parameters() if n.endswith(name)]
    assert len(found) == 1, (name, len(found))
    return found[0]


def rounded(x, name):
    kind = gguf.GGMLQuantizationType[name]
    return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(x.numpy(), kind), kind))


def ours(a, data, out, tensors):
    call(a.gemma4, "sensitivity", "--model", a.model, "--types", ",".join(FORMATS), "--by",
         "tensor", "--only", ",".join(tensors), "--data", data, "--out", out)
    with open(os.path.join(out, "points.csv"), newline="", encoding="utf-8") as f:
        return {(r["what"], r["type"], r["domain"]): r for r in csv.DictReader(f)}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--gemma4", default=os.path.join(HERE, "..", "build", "gemma4"))
    p.add_argument("--model", default=os.path.join(HERE, "miniature"))
    p.add_argument("--texts", type=int, default=12)
    a = p.parse_args()
    torch.set_num_threads(1)
    rows = documents(a.texts)
    model = hf_model.load_model(a.model, torch.float32)
    todo = list(points(model.config.text_config.num_hidden_layers))
    with tempfile.TemporaryDirectory() as work:
        data = os.path.join(work, "d.jsonl")
        with open(data, "w", encoding="utf-8") as f:
            for r in rows:   # media are named as seen from the file
                media = [[k, os.path.relpath(path, work)] for k, path in r.get("media", [])]
                f.write(json.dumps({**r, "media": media} if media else r) + "\n")
        table = ours(a, data, os.path.join(work, "out"), dict.fromkeys(t for t, *_ in todo))
    docs = [Document(a, r) for r in rows]
    before, worst = [d.log_probs(model) for d in docs], {}
    for tensor, name, kind, domain in todo:
        mine = [i for i, d in enumerate(docs) if domain in ("all", d.domain)]
        tokens = sum(docs[i].scored for i in mine)
        weight = parameter(model, name)
        kept, weight.data = weight.data, rounded(weight.data, FORMATS[kind])
        error = float((weight.data - kept).double().norm() / kept.double().norm())
        kl = sum(float((before[i].exp() * (before[i] - docs[i].log_probs(model))).sum())
                 for i in mine) / tokens
        weight.data = kept
        row = table[tensor, kind, domain]
        off = float(row["kl"]) / kl - 1.0
        worst[domain] = max(worst.get(domain, 0.0), abs(off))
        print(f"{tensor:21s} {kind:6s} KL {kl:.6e}, here {float(row['kl']):.6e}, "
              f"{100 * off:+.3f} %; weights {error:.6e}, here {float(row['weight_error']):.6e}",
              flush=True)
        assert int(row["tokens"]) == tokens, (row["tokens"], tokens)
        if kind != "q8_0" and abs(float(row["weight_error"]) / error - 1.0) > 1e-5:
            sys.exit(f"{tensor} {kind}: other rounded weights than gguf's")
    print(f"{len(todo)} points, {sum(d.scored for d in docs)} tokens, the furthest differs: " +
          ", ".join(f"{d} {100 * v:.3f} %" for d, v in worst.items()))
    sys.exit(max(worst.values()) > BOUND)


if __name__ == "__main__":
    main()
