#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tiny checkpoints under golden/tiny: random weights, the whole architecture.

Every folder is what Transformers 5.20.2 loads with no missing and no unexpected key: config.json,
model.safetensors (BF16), tokenizer.json, processor and generation configs, the drafter in
assistant/.  Names on disk are those of the published checkpoint (model.vision_embedder.*), which
are not the names Transformers has in memory; `mini_names` is the same model under the in-memory
names, `mini_sharded` the same in several files.  Weights depend on (seed, tensor name) only, so
adding a tensor or a model changes no other.
usage: make_tiny.py [small even mini ...] [--out golden/tiny] [--seed N]
"""
import argparse
import hashlib
import json
import math
import os
import re
import shutil
from collections import Counter

import hf_setup  # noqa: F401  (first: makes torchvision importable)
import numpy as np
import torch
from safetensors.torch import save_file

from tiny_text import TRAINING_TEXT

SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|think|>", '<|"|>', "<|turn>",
            "<turn|>",
            "<|channel>", "<channel|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
            "<|tool_response>", "<tool_response|>"]
MEDIA = ["<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<audio|>", "<|video|>"]


def rope(theta_sliding=10000.0, theta_full=1000000.0, partial=0.25, **more):
    return {"sliding_attention": {"rope_type": "default", "rope_theta": theta_sliding},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": partial,
                               "rope_theta": theta_full, **more}}


# media_last: media ids at the end of the vocabulary, as in the real one; bos: added by the
# post_processor.
# Sizes differ from each other on purpose: D, N*H, K*H, F and V never coincide in `small`.
TINY = {
    "small": dict(
        seed=31, media_last=False, bos=True, posemb=144, mm=40,
        text=dict(vocab_size=640, hidden_size=60, intermediate_size=136, num_hidden_layers=12,
                  num_attention_heads=6, num_key_value_heads=3, head_dim=12, global_head_dim=24,
                  num_global_key_value_heads=2, sliding_window=24, rope_parameters=rope()),
        draft=dict(hidden_size=28, intermediate_size=52, num_hidden_layers=4),
        centroids=(32, 5)),
    "even": dict(
        seed=34, media_last=True, bos=True, posemb=80, mm=256, pool=1, gain=4.0,
        text=dict(vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
                  num_attention_heads=4, num_key_value_heads=2, head_dim=64, global_head_dim=128,
                  num_global_key_value_heads=1, sliding_window=64,
                  layer_types=["sliding_attention", "full_attention"],
                  rope_parameters=rope(20000.0, 500000.0)),
        draft=dict(hidden_size=256, intermediate_size=256, num_hidden_layers=2)),
    "mini": dict(
        seed=20, media_last=True, bos=False, posemb=80, mm=16, pool=2, gain=4.0,
        text=dict(vocab_size=640, hidden_size=48, intermediate_size=96, num_hidden_layers=6,
                  num_attention_heads=3, num_key_value_heads=1, head_dim=16, global_head_dim=32,
                  num_global_key_value_heads=1, sliding_window=40, final_logit_softcapping=20.0,
                  rope_parameters=rope(10000.0, 1000000.0, 0.5, factor=2.0)),
        draft=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2)),
}


# ---- tokenizer ----

def train_bpe(texts, size):
    """Characters, merges and merged pieces, `size` pieces in all, fewer where nothing is left to
    merge.

    The tokenizers library breaks ties between equally frequent pairs by hash order, another one in
    each run; here the smaller pair wins, so that the same text makes the same tokenizer."""
    # Pieces end before a space, so that merges look like Gemma's: a space and a word, many spaces.
    words = Counter(w for t in texts for w in re.findall("\u2581+[^\u2581\n]*|[^\u2581\n]+|\n+",
                                                         t.replace(" ", "\u2581")))
    chars = sorted({c for w in words for c in w})
    split = {w: list(w) for w in words}
    merges, made = [], []
    while len(chars) + len(made) < size:
        pairs = Counter()
        for w, n in words.items():
            for pair in zip(split[w], split[w][1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(list(best))
        if "".join(best) not in made:
            made.append("".join(best))
        for w, p in split.items():
            i = 0
            while i + 1 < len(p):
                if (p[i], p[i + 1]) == best:
                    p[i:i + 2] = ["".join(best)]
                i += 1
    return chars, merges, made


def make_tokenizer(vocab_size, media_last, bos, texts=TRAINING_TEXT):
    """BPE with Gemma's components; ids: specials, bytes, merges, characters (as in the real
    one); unused ones where the texts do not fill the vocabulary."""
    first = SPECIALS if media_last else SPECIALS[:5] + MEDIA + SPECIALS[5:]
    first = first + [f"<0x{i:02X}>" for i in range(256)]
    last = MEDIA if media_last else []
    chars, merges, made = train_bpe(texts, vocab_size - len(first) - len(last))
    spare = vocab_size - len(first) - len(made) - len(chars) - len(last)
    order = first + made + [f"<unused{i}>" for i in range(spare)] + chars + last
    assert len(order) == vocab_size == len(set(order)), (len(order), vocab_size)
    ids = {t: i for i, t in enumerate(order)}
    tpl = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}] if bos else []
    pair = [{"SpecialToken": {"id": "<bos>", "type_id": 1}}] if bos else []
    seq_a, seq_b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [dict(id=ids[t], content=t, single_word=False, lstrip=False, rstrip=False,
                              normalized=False, special=True)
                         for t in sorted(SPECIALS + MEDIA, key=ids.get)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
                          "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing", "single": tpl + [seq_a],
            "pair": tpl + [seq_a] + pair + [seq_b],
            "special_tokens": {
                "<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}} if bos else {}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                  "ignore_merges": False, "vocab": ids, "merges": merges},
    }, ids


TOKENIZER_CONFIG = {
    "tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>", "mask_token": "<mask>", "padding_side": "left",
    "model_max_length": 262144,
    "processor_class": "Gemma4UnifiedProcessor", "boi_token": "<|image>", "eoi_token": "<image|>",
    "image_token": "<|image|>", "boa_token": "<|audio>", "eoa_token": "<audio|>",
    "audio_token": "<|audio|>", "sot_token": "<|turn>", "eot_token": "<turn|>",
    "soc_token": "<|channel>",
    "eoc_token": "<channel|>", "think_token": "<|think|>", "escape_token": '<|"|>',
    "std_token": "<|tool>",
    "etd_token": "<tool|>", "stc_token": "<|tool_call>", "etc_token": "<tool_call|>",
    "str_token": "<|tool_response>", "etr_token": "<tool_response|>",
    "extra_special_tokens": ["<|video|>"]}


def processor_config(pool):
    patches = {"patch_size": 16, "pooling_kernel_size": pool, "max_soft_tokens": 70,
               "do_normalize": False}
    return {
        "processor_class": "Gemma4UnifiedProcessor", "image_seq_length": 280,
        "audio_seq_length": 750,
        "audio_ms_per_token": 40,
        "image_processor": {
            "image_processor_type": "Gemma4UnifiedImageProcessor", **patches, "do_resize": True,
            "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": [0.0] * 3,
            "image_std": [1.0] * 3, "resample": 3, "do_convert_rgb": True},
        "feature_extractor": {
            "feature_extractor_type": "Gemma4UnifiedAudioFeatureExtractor", "feature_size": 640,
            "sampling_rate": 16000, "audio_samples_per_token": 640, "padding_value": 0.0},
        "video_processor": {
            "video_processor_type": "Gemma4UnifiedVideoProcessor", **patches, "num_frames": 32}}


# ---- configs ----

def text_config(t, **over):
    base = dict(model_type="gemma4_unified_text", hidden_activation="gelu_pytorch_tanh",
                max_position_embeddings=262144, rms_norm_eps=1e-6, final_logit_softcapping=30.0,
                attention_k_eq_v=True, use_bidirectional_attention="vision", num_kv_shared_layers=0,
                pad_token_id=0, eos_token_id=1, bos_token_id=2)
    return {**base, **t, **over}


def configs(spec, ids):
    backbone = {
        "architectures": ["Gemma4UnifiedForConditionalGeneration"], "model_type": "gemma4_unified",
        "dtype": "bfloat16", "boi_token_id": ids["<|image>"], "eoi_token_id": ids["<image|>"],
        "image_token_id": ids["<|image|>"], "video_token_id": ids["<|video|>"],
        "boa_token_id": ids["<|audio>"], "eoa_token_index": ids["<audio|>"],
        "audio_token_id": ids["<|audio|>"], "tie_word_embeddings": True,
        "text_config": text_config(spec["text"]),
        "vision_config": {"model_type": "gemma4_unified_vision", "patch_size": 16,
                          "pooling_kernel_size": spec.get("pool", 3), "mm_embed_dim": spec["mm"],
                          "mm_posemb_size": spec["posemb"], "output_proj_dims": spec["mm"],
                          "rms_norm_eps": 1e-6},
        "audio_config": {"model_type": "gemma4_unified_audio", "audio_embed_dim": 640,
                         "rms_norm_eps": 1e-6}}
    n = spec["draft"]["num_hidden_layers"]
    drafter = {
        "architectures": ["Gemma4UnifiedAssistantForCausalLM"],
        "model_type": "gemma4_unified_assistant",
        "dtype": "bfloat16", "backbone_hidden_size": spec["text"]["hidden_size"],
        "use_ordered_embeddings": False, "tie_word_embeddings": True,
        "text_config": text_config(
            spec["text"], **spec["draft"], final_logit_softcapping=None, num_kv_shared_layers=n,
            layer_types=["sliding_attention"] * (n - 1) + ["full_attention"])}
    return backbone, drafter


# ---- weights ----

def normal(seed, name, shape, mean=0.0, std=1.0):
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    g = np.random.Generator(np.random.Philox(key=key))
    return torch.from_numpy(mean + std * g.standard_normal(tuple(shape)))


def weight(seed, name, shape, head_dim, gain):
    """Scales that keep every part of the sum visible: nothing saturates, nothing vanishes.
    gain: of each layer's contribution; in few layers the embedding would stay the largest part and
    the tied head would answer every token with itself."""
    leaf = name.split(".")[-2] if name.endswith((".weight", ".bias")) else name.split(".")[-1]
    if leaf in ("q_norm", "k_norm"):
        # Scores have a deviation near 2.2: softmax is neither uniform nor one-hot at any head size.
        m = math.sqrt(2.2 / math.sqrt(head_dim))
        return normal(seed, name, shape, m, 0.25 * m)
    if leaf == "layer_scalar":
        return normal(seed, name, shape, 0.85, 0.12)
    if leaf == "pos_embedding":
        return normal(seed, name, shape, 0.0, 0.3)
    if leaf == "embed_tokens":
        return normal(seed, name, shape, 0.0, 1.6 / math.sqrt(shape[1]))
    if name.endswith(".bias"):
        return normal(seed, name, shape, 0.0, 0.1)
    if len(shape) == 1:
        m = gain if leaf in ("post_attention_layernorm", "post_feedforward_layernorm") else 1.0
        return normal(seed, name, shape, m, 0.25 * m)
    return normal(seed, name, shape, 0.0, 1 / math.sqrt(shape[1]))


def disk_name(name):
    """Transformers' name in memory -> the published checkpoint's."""
    for part in ("patch_ln1", "patch_dense", "patch_ln2", "pos_embedding", "pos_norm"):
        name = name.replace(f"embed_vision.{part}", f"vision_embedder.{part}")
    return name.replace("embed_vision.multimodal_embedder.", "embed_vision.")


def make_weights(cls, config, seed, gain=1.0, names=disk_name):
    with torch.device("meta"):
        model = cls(config)
    out = {}
    for name, t in model.state_dict().items():
        if name == "lm_head.weight":   # tied
            continue
        disk = disk_name(name)
        if name.endswith("token_ordering"):
            key = np.random.Generator(np.random.Philox(key=seed))
            out[names(name)] = torch.from_numpy(key.permutation(t.shape[0]).astype(np.int64))
            continue
        out[names(name)] = weight(seed, disk, t.shape, t.shape[0], gain).to(torch.bfloat16)
    return {k: v.contiguous() for k, v in sorted(out.items())}


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)
        f.write("\n")


def save_sharded(tensors, folder, count):
    """Shards by bytes, in name order, with the index that Transformers writes."""
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    shards, size = [{}], 0
    for name, t in tensors.items():
        if size > total * len(shards) / count:
            shards.append({})
        shards[-1][name] = t
        size += t.numel() * t.element_size()
    files = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for f, s in zip(files, shards):
        save_file(s, os.path.join(folder, f), metadata={"format": "pt"})
    write_json(os.path.join(folder, "model.safetensors.index.json"), {
        "metadata": {"total_size": total},
        "weight_map": {n: f for f, s in zip(files, shards) for n in s}})


# ---- folders ----

def make_drafter(cfg, seed, folder):
    from transformers import Gemma4UnifiedAssistantConfig, Gemma4UnifiedAssistantForCausalLM
    os.makedirs(folder, exist_ok=True)
    w = make_weights(Gemma4UnifiedAssistantForCausalLM, Gemma4UnifiedAssistantConfig(**cfg), seed)
    save_file(w, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    write_json(os.path.join(folder, "config.json"), cfg)
    write_json(os.path.join(folder, "generation_config.json"), {"num_assistant_tokens": 4})


def write_settings(spec, folder, tok, backbone):
    """All files of a folder but the weights."""
    ids = tok["model"]["vocab"]
    write_json(os.path.join(folder, "config.json"), backbone)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tok, f, ensure_ascii=False)
    write_json(os.path.join(folder, "tokenizer_config.json"), TOKENIZER_CONFIG)
    write_json(os.path.join(folder, "processor_config.json"),
               processor_config(spec.get("pool", 3)))
    write_json(os.path.join(folder, "generation_config.json"), {
        "bos_token_id": 2, "eos_token_id": [1, ids["<turn|>"]], "pad_token_id": 0,
        "do_sample": True,
        "temperature": 1.0, "top_k": 64, "top_p": 0.95,
        "suppress_tokens": [ids["<audio|>"], ids["<image|>"]]})


def make_folder(spec, folder, layout="single"):
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    tok, ids = make_tokenizer(spec["text"]["vocab_size"], spec["media_last"], spec["bos"])
    backbone, drafter = configs(spec, ids)
    w = make_weights(Gemma4UnifiedForConditionalGeneration, Gemma4UnifiedConfig(**backbone),
                     spec["seed"],
                     spec.get("gain", 1.0), (lambda n: n) if layout == "names" else disk_name)
    if layout == "sharded":
        save_sharded(w, folder, 3)
    else:
        save_file(w, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    write_settings(spec, folder, tok, backbone)
    if layout != "single":
        return
    make_drafter(drafter, spec["seed"] + 1000, os.path.join(folder, "assistant"))
    if "centroids" in spec:
        n, top = spec["centroids"]
        make_drafter({**drafter, "use_ordered_embeddings": True, "num_centroids": n,
                      "centroid_intermediate_top_k": top},
                     spec["seed"] + 2000, os.path.join(folder, "assistant_centroid"))


def readable(folder):
    for base, _, files in os.walk(folder):   # save_file makes them 0600
        for f in files:
            os.chmod(os.path.join(base, f), 0o644)


def check_folder(folder):
    """Transformers must find every tensor it wants and none that it does not."""
    from transformers import (Gemma4UnifiedAssistantForCausalLM,
                              Gemma4UnifiedForConditionalGeneration)
    todo = [(folder, Gemma4UnifiedForConditionalGeneration)]
    todo += [(os.path.join(folder, d), Gemma4UnifiedAssistantForCausalLM)
             for d in ("assistant", "assistant_centroid") if os.path.isdir(os.path.join(folder, d))]
    for path, cls in todo:
        model, info = cls.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
        bad = {k: v for k, v in info.items() if v}
        n = sum(p.numel() for p in model.parameters())
        print(f"{path}: {n} parameters, {'ok' if not bad else bad}")
        if bad:
            raise SystemExit(1)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("names", nargs="*", default=[], help="small even mini mini_sharded mini_names")
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--out", default=os.path.join(here, "tiny"))
    ap.add_argument("--seed", type=int, help="instead of the model's own")
    a = ap.parse_args()
    for name in a.names or [*TINY, "mini_sharded", "mini_names"]:
        base, _, layout = name.partition("_")
        folder = os.path.join(a.out, name) if layout else os.path.join(a.out, name, "model")
        spec = dict(TINY[base], **({"seed": a.seed} if a.seed is not None else {}))
        make_folder(spec, folder, layout or "single")
        readable(folder)
        check_folder(folder)


if __name__ == "__main__":
    main()
