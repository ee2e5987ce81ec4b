#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds GGUF files against llama.cpp's converter (source package of llama-cpp-python).

For each test model and its projector: the converter makes a GGUF, `gemma4 quantize` another.
Every tensor must be the same (name, type, shape, bytes), and every key that both have.  The
model runs from the converter's files: `gemma4 verify` holds its activations against
Transformers', pictures and sound through the converter's projector file, drafting through the
converter's drafter; and once more from the converter's file in parts.  Needs torch, transformers
and the gguf package."""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

import gguf

# the converter's own labels; stop tokens and ids that it does not write
OURS = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}
THEIRS = {"general.size_label", "tokenizer.ggml.add_sep_token", "tokenizer.ggml.mask_token_id",
          "general.base_model.count", "general.tags", "general.license",
          # of a projector file, which samples nothing
          "general.sampling.top_k", "general.sampling.top_p", "general.sampling.temp"}
NAMES = {"general.name", "GGUF.kv_count"}
# mini's full layers divide their frequencies by 2, which the converter leaves out
FACTOR = {"golden/tiny/mini"}


def source_of(folder, work):
    """A copy of the folder with what the converter takes for granted written out."""
    copy = os.path.join(work, "source")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("assistant", "golden", "eval"))
    for name in ("tokenizer.json", "tokenizer_config.json"):   # a drafter has the model's
        if not os.path.exists(os.path.join(copy, name)):
            shutil.copy(os.path.join(folder, "..", name), copy)
    path = os.path.join(copy, "config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    text = config["text_config"]
    layers = text["num_hidden_layers"]
    text.setdefault("moe_intermediate_size", None)
    text.setdefault("hidden_size_per_layer_input", 0)
    text.setdefault("num_kv_shared_layers", 0)
    text.setdefault("layer_types", ["full_attention" if (i + 1) % 6 == 0 or i + 1 == layers
                                    else "sliding_attention" for i in range(layers)])
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)
    return copy


def convert(a, folder, out, kind, *more):
    env = dict(os.environ, PYTHONPATH=os.path.join(a.source, "vendor/llama.cpp/gguf-py"))
    tool = os.path.join(a.source, "vendor/llama.cpp/convert_hf_to_gguf.py")
    subprocess.run([sys.executable, tool, source_of(folder, a.work), "--outfile", out,
                    "--outtype", kind, *more], env=env, check=True, capture_output=True)


def keys_of(reader):
    """A key's type and value; where all layers agree, the converter writes one number for them."""
    keys = {k: (f.types, f.contents()) for k, f in reader.fields.items()}
    for k, (_, v) in keys.items():
        if k.endswith(".head_count_kv"):
            keys[k] = (None, sorted(set(v)) if len(set(v)) == 1 else v) if isinstance(v, list) \
                else (None, [v])
    return keys


def compare(ours, theirs, factor):
    """The names of what differs."""
    a, b = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    x, y = keys_of(a), keys_of(b)
    bad = [k for k in sorted(set(x) | set(y)) if k not in NAMES and x.get(k) != y.get(k) and
           not (k in OURS and k not in y) and not (k in THEIRS and k not in x)]
    p, q = {t.name: t for t in a.tensors}, {t.name: t for t in b.tensors}
    bad += sorted(set(p) ^ set(q))
    for name in sorted(set(p) & set(q)):
        s, t = p[name], q[name]
        if factor and name == "rope_freqs.weight":
            continue
        if (s.tensor_type != t.tensor_type or list(s.shape) != list(t.shape) or
                s.data.tobytes() != t.data.tobytes()):
            bad.append(name)
    return bad, len(p), len(x)


def tensors_of(path):
    return len(gguf.GGUFReader(path).tensors)


def verify(a, *words):
    r = subprocess.run([a.gemma4, "verify", *words], capture_output=True, text=True, check=False)
    print(f"verify {' '.join(words[-1:])}: {r.stdout.strip().splitlines()[-1:] or r.stderr}")
    return r.returncode != 0


def check_projector(a, folder, at):
    """How much of the projector file differs from the converter's, in all its formats."""
    failed = 0
    for kind in ("f32", "f16", "q8_0", "bf16"):
        convert(a, folder, at["media"], kind, "--mmproj")
        subprocess.run([a.gemma4, "quantize", "--model", folder, "--type", kind,
                        "--mmproj", at["ours"]], check=True, capture_output=True)
        bad, tensors, keys = compare(at["ours"], at["media"], False)
        print(f"{folder} projector {kind}: {tensors} tensors, {keys} keys, {len(bad)} differ", *bad)
        failed += len(bad)
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--gemma4", default="build/gemma4")
    p.add_argument("--source", required=True, help="unpacked llama-cpp-python source")
    a = p.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as a.work:
        at = {k: os.path.join(a.work, k + ".gguf")
              for k in ("ours", "theirs", "media", "draft", "parts")}
        for model in ("golden/tiny/even", "golden/tiny/small", "golden/tiny/mini"):
            for part in ("model", "model/assistant"):
                for kind in ("f32", "bf16"):
                    folder = os.path.join(model, part)
                    convert(a, folder, at["theirs" if part == "model" else "draft"], kind)
                    subprocess.run([a.gemma4, "quantize", "--model", folder, "--type", kind,
                                    "--out", at["ours"]], check=True, capture_output=True)
                    bad, tensors, keys = compare(
                        at["ours"], at["theirs" if part == "model" else "draft"], model in FACTOR)
                    print(f"{folder} {kind}: {tensors} tensors, {keys} keys, {len(bad)} differ",
                          *bad)
                    failed += len(bad)
            if model in FACTOR:
                continue
            failed += check_projector(a, os.path.join(model, "model"), at)
            whole = ["--model", at["theirs"], "--mmproj", at["media"], "--draft", at["draft"]]
            cases = ["text.h5", "mtp_short.h5"]
            cases += ["image.h5"] if "even" in model else ["image_official.h5", "audio.h5"]
            for case in cases:
                failed += verify(a, *whole, os.path.join(model, case))
            convert(a, os.path.join(model, "model"), at["parts"], "bf16", "--split-max-tensors",
                    str(tensors_of(at["theirs"]) // 3))
            parts = sorted(glob.glob(os.path.join(a.work, "parts-*.gguf")))
            print(f"{model} in {len(parts)} parts", end=": ")
            failed += len(parts) < 3
            failed += verify(a, "--model", parts[0], os.path.join(model, "text.h5"))
            for part in parts:
                os.unlink(part)
        failed += check_projector(a, "golden/miniature", at)
    print("agrees" if failed == 0 else f"{failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
