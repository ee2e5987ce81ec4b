#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `gemma4 imatrix` against Transformers, and against llama.cpp where it is built.

  check_imatrix.py --program build/gemma4 [--model golden/miniature] [--llama DIR]

Transformers runs the same chunks of tokens; hooks on its linear layers sum the squares of what
goes in.  DIR holds llama-imatrix and llama-quantize: the first gets a F32 file of the model and
the same text, the second must read both of our formats and list the formats that quantize
lists, for every mix, with and without the matrix."""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import gguf
import hf_model
import hf_setup  # noqa: F401
import numpy as np
import torch

CHUNK = 128
# verify finds activations of this model within 3e-6 of Transformers' (relative L2); squares
# double that, and llama-imatrix adds squares in float32, one by one.
BOUND = 1e-5
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
MIXES = ("q8_0 q6_k q5_k_m q5_k q5_k_s q4_k_m q4_k q4_k_s iq4_xs iq4_nl q5_1 q5_0 q4_1 q4_0 "
         "q3_k_l q3_k_m q3_k q3_k_s q2_k").split()


def text_of(a):
    """Words of the vocabulary: of some length, and the same every time."""
    with open(os.path.join(a.model, "tokenizer.json"), encoding="utf-8") as f:
        vocab = json.load(f)["model"]["vocab"]
    words = sorted(w[1:] for w in vocab if w[:1] == "\u2581" and w[1:].isalpha())
    rng = np.random.default_rng(1)
    return " ".join(words[i] for i in rng.integers(0, len(words), 1500))


def run(*command):
    r = subprocess.run(command, capture_output=True, text=True, check=False)
    if r.returncode:
        raise SystemExit(f"{' '.join(command)}: {r.stdout[-400:]}{r.stderr[-400:]}")
    return r.stdout + r.stderr


def read(path):
    """{matrix: (sums, count)} of a GGUF."""
    tensors = {t.name: t.data.astype(np.float64).ravel() for t in gguf.GGUFReader(path).tensors}
    return {n[:-8]: (v, tensors[n[:-8] + ".counts"][0]) for n, v in tensors.items()
            if n.endswith(".in_sum2")}


def compare(what, ours, theirs):
    worst, bad = 0.0, sorted(set(ours) ^ set(theirs))
    for name in set(ours) & set(theirs):
        (x, n), (y, m) = ours[name], theirs[name]
        error = np.linalg.norm(x - y) / np.linalg.norm(y)
        worst = max(worst, error)
        if n != m or not error <= BOUND:
            bad.append(f"{name} ({error:.1e}, {n} and {m} tokens)")
    print(f"{what}: {len(ours)} matrices, worst relative L2 {worst:.1e}, {len(bad)} differ", *bad)
    return len(bad)


def by_transformers(a, ids):
    model = hf_model.load_model(a.model, torch.float32)
    text = model.config.text_config
    sums = {}

    def hook(name):
        def add(_, args):
            x = args[0].detach().reshape(-1, args[0].shape[-1]).double()
            old = sums.get(name, (0, 0))
            sums[name] = (old[0] + (x * x).sum(0).numpy(), old[1] + x.shape[0])
        return add

    for path, module in model.named_modules():
        m = re.search(r"language_model\.layers\.(\d+)\.(.*)$", path)
        if m and m[2] in NAMES:
            module.register_forward_pre_hook(hook(f"blk.{m[1]}.{NAMES[m[2]]}.weight"))
    for at in range(0, len(ids) - CHUNK + 1, CHUNK):
        chunk = torch.tensor([[ids[0]] + ids[at + 1:at + CHUNK]])
        types = [0] * CHUNK
        masks = hf_model.make_masks(types, text.sliding_window, "official")
        with torch.no_grad():
            model(input_ids=chunk, attention_mask=hf_model.additive(masks, torch.float32),
                  mm_token_type_ids=torch.zeros_like(chunk), use_cache=False)
    return sums


def listing(text, form):
    return {m[1]: (m[3] or m[2]).lower() for m in map(form.match, text.splitlines()) if m}


def check_mixes(a, f32, imatrix):
    ours = re.compile(r"(\S+\.weight) +(\S+)()")
    theirs = re.compile(r"\[ *\d+/ *\d+\] (\S+) .*type = *(\S+), size = .*?(?:\((\S+)\))?$")
    bad = 0
    for mix in MIXES:
        for more in ([], ["--imatrix", imatrix]):
            x = listing(run(a.program, "quantize", "--model", a.model, "--type", mix, "--dry-run",
                            *more), ours)
            y = listing(run(os.path.join(a.llama, "llama-quantize"), "--dry-run", *more, f32,
                            mix.upper()), theirs)
            differ = [n for n in sorted(set(x) | set(y)) if x.get(n) != y.get(n)]
            bad += len(differ)
            if differ or not x:
                print(f"{mix} {' '.join(more[:1])}: {len(differ)} of {len(x)} differ", *differ[:3])
    print(f"mixes: {len(MIXES)} with and without a matrix, {bad} tensors differ")
    return bad


def by_llama(a, work, text, ours):
    f32, out = os.path.join(work, "f32.gguf"), os.path.join(work, "theirs.gguf")
    run(a.program, "quantize", "--model", a.model, "--type", "f32", "--out", f32)
    run(os.path.join(a.llama, "llama-imatrix"), "-m", f32, "-f", text, "-o", out, "-c", str(CHUNK),
        "-ctk", "f32", "-ctv", "f32", "-fa", "off")
    bad = compare("llama-imatrix", read(ours), read(out))
    for name in (out, ours, ours[:-5] + ".dat"):
        said = run(os.path.join(a.llama, "llama-quantize"), "--imatrix", name, f32,
                   os.path.join(work, "q.gguf"), "q4_0")
        run(a.program, "quantize", "--model", a.model, "--type", "q4_0", "--imatrix", name,
            "--out", os.path.join(work, "p.gguf"))
        read_all = f"have {len(read(ours))} importance matrix entries" in said
        print(f"{os.path.basename(name)}: {'read' if read_all else 'NOT READ'} by both")
        bad += not read_all
    return bad + check_mixes(a, f32, ours)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--program", default="build/gemma4")
    p.add_argument("--model", default="golden/miniature")
    p.add_argument("--llama", help="folder of llama.cpp's programs")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text, ours = os.path.join(work, "text"), os.path.join(work, "ours.gguf")
        with open(text, "w", encoding="utf-8") as f:
            f.write(text_of(a))
        ids = json.loads(run(a.program, "tokens", "--model", a.model, "--bos", "on", "--json",
                             "--text", text_of(a)))["ids"]
        for name in (ours, ours[:-5] + ".dat"):
            run(a.program, "imatrix", "--model", a.model, "--data", text, "--ctx", str(CHUNK),
                "--out", name)
        bad = compare("Transformers", read(ours), by_transformers(a, ids))
        if a.llama:
            bad += by_llama(a, work, text, ours)
    print("agrees" if bad == 0 else f"{bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
