#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes golden/miniature: a small model of the whole architecture, trained, with its drafter.

    make_miniature.py train [--work DIR] [--steps N]    from its last snapshot, or from the start
    make_miniature.py draft [--work DIR] [--steps N]    the drafter, on the weights that are saved;
                                                        from its last ones, or from the start
    make_miniature.py save  [--work DIR] [--out DIR]    BF16 folder from what there is

The work folder (default golden/miniature.work, not in git) holds snapshot.pt and log.csv.  Data are
made while training (mini_text.py, mini_media.py); nothing is fetched.
"""
import argparse
import json
import math
import os
import shutil

import hf_setup  # noqa: F401
import make_tiny as tiny
import mini_draft
import mini_plot
import mini_tokenizer
import mini_train
import torch
from mini_media import KINDS as MEDIA
from mini_text import SUBJECTS
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SEED = 41
# Every matrix but audio's (640 inputs) has sizes that are multiples of 256.
SPEC = dict(
    seed=SEED, media_last=True, bos=True, posemb=80, mm=256,
    text=dict(vocab_size=1792, hidden_size=256, intermediate_size=768, num_hidden_layers=6,
              num_attention_heads=8, num_key_value_heads=8, head_dim=32, global_head_dim=64,
              num_global_key_value_heads=4, sliding_window=64,
              layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
              rope_parameters=tiny.rope()),
    draft=dict(hidden_size=256, intermediate_size=512, num_hidden_layers=3))
LAYER_SCALARS = (0.9, 1.1, 0.95, 1.05, 1.0, 0.85)   # buffers, not trained: some that are not 1

# Shares of samples in the sorts of batches (mini_train.SHAPES).  As it really ran: the first two
# phases, 3,400 steps over more and harder kinds (swaps, orderings, larger pictures: since made
# easier or left out), taught letters, facts and tool calls, but never to look back for a word.
# Two hundred steps of drills did.  A run from the start has the drills from the start.
FIRST = {"facts": 2, "mmlu/facts": 2, "mmlu/sets": 2, "mmlu/towns": 1, "mmlu/sums": 1,
         "copy": 1, "drill/repeat": 3, "drill/letters": 2, "drill/match": 2,
         "drill/lookup": 2, "image_color": 2, "image_shape": 2, "audio_pitch": 1,
         "domain/prose": 0.3, "domain/code": 0.2, "domain/arithmetic": 0.3, "domain/table": 0.3,
         "chat": 0.3}
DRILL = {"drill/repeat": 3, "drill/lookup": 2, "drill/letters": 2, "drill/match": 2,
         "mmlu/sets": 1, "mmlu/towns": 1, "facts": 1}
TEXT = {"mmlu/facts": 1.5, "mmlu/towns": 1, "mmlu/sums": 2.5, "mmlu/sets": 1, "mmlu/elders": 0.7,
        "pro/math": 1, "pro/history": 1, "pro/law": 1}
ALL = {"small": {**TEXT, "facts": 1.5, "chat": 0.8, "domain/prose": 0.4, "domain/code": 0.2,
                 "domain/arithmetic": 0.6, "domain/table": 0.4, "drill/repeat": 1.5,
                 "drill/lookup": 2, "drill/letters": 2.5, "drill/match": 2,
                 "image_color": 1.5, "image_shape": 1.5, "image_place": 1.5, "image_count": 1.5,
                 "audio_order": 1.5, "audio_pitch": 1, "audio_words": 1.5, "image_audio": 0.7},
       "middle": {**{k: 0.7 * v for k, v in TEXT.items()}, "tool": 1, "drill/lookup": 1,
                  "drill/letters": 1, "video_change": 5, "video_detail": 5}}
# What was still at chance then: numbers, and the letter of a word that comes after the options.
# From step 4,000 on pictures, worked steps and facts were what they are here, easier than before.
HARD = {"mmlu/option": 1.5, "mmlu/facts": 4, "mmlu/towns": 0.6, "mmlu/sums": 4, "mmlu/numbers": 2,
        "mmlu/sets": 0.6, "mmlu/elders": 0.3, "pro/math": 2.5, "pro/history": 1, "pro/law": 2}
LAST = {"small": {**ALL["small"], **HARD, "drill/repeat": 0.7, "drill/lookup": 0,
                  "drill/letters": 5, "drill/match": 0.7, "image_color": 1.5, "image_shape": 2.5,
                  "image_place": 2, "image_count": 2, "audio_order": 0.7, "audio_pitch": 0.5,
                  "audio_words": 0.8, "image_audio": 0.7},
        "middle": {**{k: 0.7 * v for k, v in HARD.items()}, "tool": 1, "drill/letters": 0.7,
                   "video_change": 1.5, "video_detail": 3}}
# From step 4,270 on, all easier: sums are stated (in words) as facts are, worked steps with more
# weight on the letter, up to five examples before them, one of two spoken words asked for, one
# shape in a video, a color and a tone.  Prose became less predictable.
MORE = {"mmlu/option": 1, "mmlu/facts": 3, "mmlu/towns": 0.5, "mmlu/sums": 3, "mmlu/numbers": 1,
        "mmlu/sets": 0.4, "mmlu/elders": 0.5, "pro/math": 2.5, "pro/history": 2, "pro/law": 2}
EASIER = {"small": {**MORE, "facts": 1, "sums": 1.5, "chat": 0.6, "tool": 0.3, "domain/prose": 1.5,
                    "domain/code": 0.2, "domain/arithmetic": 0.5, "domain/table": 0.3,
                    "drill/repeat": 0.3, "drill/letters": 6, "drill/match": 0.5,
                    "image_color": 1.5, "image_shape": 2, "image_place": 1.2, "image_count": 1.5,
                    "audio_order": 0.7, "audio_pitch": 1.2, "audio_words": 2, "image_audio": 2},
          "middle": {**MORE, "tool": 1, "video_change": 3, "video_detail": 5},
          "long": {"pro/math": 3, "pro/history": 3, "pro/law": 3, "mmlu/facts": 1, "mmlu/sums": 1,
                   "mmlu/numbers": 1, "mmlu/option": 0.5}}
# Then most of all the letter of a word among ten; from step 4,450 on of a number.
BOUND = {"pro/math": 4, "pro/history": 3, "pro/law": 3, "mmlu/facts": 2, "mmlu/option": 0.6,
         "mmlu/towns": 0.3, "mmlu/sums": 3, "mmlu/numbers": 0.7, "mmlu/sets": 0.3,
         "mmlu/elders": 0.5}
CLOSING = {"small": {**EASIER["small"], **BOUND, "drill/letters": 5, "drill/match": 0.3,
                     "image_color": 1.2, "image_shape": 1.2, "image_place": 0.7,
                     "image_count": 0.8, "audio_order": 0.4, "audio_pitch": 0.8},
           "middle": {**BOUND, "tool": 1, "video_change": 2, "video_detail": 4},
           "long": {"pro/math": 1, "pro/history": 1, "pro/law": 1, "mmlu/sums": 0.1}}
LETTERS = {"small": {**CLOSING["small"], "pro/math": 6, "pro/history": 2, "pro/law": 1.5},
           "middle": {**CLOSING["middle"], "pro/math": 6, "pro/history": 2, "pro/law": 1.5},
           "long": {"pro/math": 2, "pro/history": 1, "pro/law": 1, "mmlu/sums": 0.1}}
# Two more subjects with worked steps, since the letter of a number among ten stays hard to learn.
PEOPLE = {"pro/business": 4, "pro/biology": 4, "pro/history": 3, "pro/law": 2}
PICTURES = {"image_color": 1.8, "image_count": 1.2, "audio_pitch": 1.6, "audio_words": 2.4}
SUBJECTS = {"small": {**LETTERS["small"], **PEOPLE}, "middle": {**LETTERS["middle"], **PEOPLE},
            "long": {**LETTERS["long"], "pro/business": 1, "pro/biology": 1}}
FINISH = {"small": {**SUBJECTS["small"], **PICTURES},
          "middle": {**SUBJECTS["middle"], "video_change": 3}, "long": SUBJECTS["long"]}
# At last what is asked of a few is stated of all, again.
STATED = {**FINISH, "small": {**FINISH["small"], "facts": 6, "pro/math": 7}}
ORDER = ["small", "middle", "small", "small", "middle", "small", "small", "middle", "small",
         "small"]
PLAN = dict(seed=SEED, lr=5e-3, lr_rest=1.2e-3, decay=0.05, steps=5460, look_every=100,
            save_every=50, mean_of=(4960, 5300, 5460),   # where the rates have just fallen
            # (step, part of the learning rates), straight lines between
            rates=[(-1, 0), (99, 1), (3950, 1), (4254, 0.05), (4269, 0.05), (4290, 0.5),
                   (4350, 0.5), (4450, 0.345), (4520, 0.02), (4540, 0.4), (4850, 0.4),
                   (4960, 0.02), (4980, 0.4), (5180, 0.4), (5300, 0.02),
                   (5315, 0.35), (5400, 0.35), (5460, 0.015)],
            # from this step: shares for each shape, and the shapes of the batches in turn
            phases=[(0, dict.fromkeys(ALL, FIRST), ORDER), (3400, {"small": DRILL}, ["small"]),
                    (3600, ALL, ORDER), (3800, LAST, ORDER),
                    (4270, EASIER, ["small", "middle", "small", "long", "small"]),
                    (4350, CLOSING, ["small", "long", "small", "middle", "small"]),
                    (4450, LETTERS, ["small", "long", "small", "middle", "small"]),
                    (4700, SUBJECTS, ["small", "long", "small", "middle", "small"]),
                    (4960, FINISH, ["small", "long", "small", "middle", "small"]),
                    (5300, STATED, ["small", "long", "small", "middle", "small"])])
DRAFT = dict(seed=SEED, lr=2e-3, steps=220,
             shares={"domain/prose": 3, "domain/code": 2, "domain/arithmetic": 3,
                     "domain/table": 3, "facts": 3, "chat": 3, "tool": 1, "pro/math": 1,
                     "pro/history": 1, "image_color": 0.3, "mmlu/facts": 0.3})


# ---- the model before training ----

def start(name, p, head_dim):
    """Weights that keep scores near 1.5 and every branch a part of the sum."""
    leaf = name.split(".")[-2] if name.endswith((".weight", ".bias")) else name.split(".")[-1]
    if leaf in ("q_norm", "k_norm"):
        return p.fill_(math.sqrt(1.5 / math.sqrt(head_dim)))
    if leaf in ("post_attention_layernorm", "post_feedforward_layernorm"):
        return p.fill_(0.5)
    if p.ndim == 1:
        return p.zero_() if name.endswith(".bias") else p.fill_(1.0)
    if leaf == "pos_embedding":
        return p.normal_(0, 0.3)
    return p.normal_(0, 1 / math.sqrt(p.shape[1]))


@torch.no_grad()
def new_model(config):
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration
    torch.manual_seed(SEED)
    cfg = Gemma4UnifiedConfig(**config)
    cfg._attn_implementation = cfg.text_config._attn_implementation = "sdpa"
    model = Gemma4UnifiedForConditionalGeneration(cfg)
    for name, p in model.named_parameters():
        start(name, p, p.shape[0])
    for layer, scalar in zip(model.model.language_model.layers, LAYER_SCALARS):
        layer.layer_scalar.fill_(scalar)
    return model


def parts(work):
    """(tokenizer.json's contents, backbone config, drafter config).  The tokenizer depends on what
    the generators write: a snapshot goes on with its own, and with no other."""
    tok, ids = mini_tokenizer.build(SPEC["text"]["vocab_size"])
    path = os.path.join(work, "tokenizer.json")
    if not os.path.exists(path):
        tiny.write_json(path, tok)
    with open(path, encoding="utf-8") as f:
        if json.load(f) != tok:
            raise SystemExit(f"{path}: the generators write other words now; begin again without "
                             "this folder, or with the generators it was made with")
    return tok, *tiny.configs(SPEC, ids)


def tokenizer_of(tok):
    from tokenizers import Tokenizer
    return Tokenizer.from_str(json.dumps(tok))


# ---- training ----

def process(rank, world, work, steps):
    import torch.distributed as dist
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{work}/meet", rank=rank,
                                world_size=world)
    tok, backbone, _ = parts(work)
    plan = dict(PLAN, **({"steps": steps} if steps else {}))
    trainer = mini_train.Trainer(new_model(backbone), tokenizer_of(tok), plan, work, rank, world)
    trainer.load()
    trainer.train()


def train(a):
    import torch.multiprocessing as mp
    os.makedirs(a.work, exist_ok=True)
    meet = os.path.join(a.work, "meet")
    if os.path.exists(meet):
        os.remove(meet)
    if a.processes == 1:
        process(0, 1, a.work, a.steps)
    else:
        mp.spawn(process, (a.processes, a.work, a.steps), nprocs=a.processes)


def snapshot_model(work, backbone):
    """The mean of the weights at the steps that PLAN names; of a run not so far, the last ones."""
    paths = [os.path.join(work, f"snapshot_{step}.pt") for step in PLAN["mean_of"]]
    if not all(map(os.path.exists, paths)):
        paths = [os.path.join(work, "snapshot.pt")]
    snapshots = [torch.load(path, weights_only=True) for path in paths]
    print(*(f"step {s['step']}, {s['tokens']} tokens, {s['seconds']:.0f} s" for s in snapshots),
          sep="\n")
    model = new_model(backbone)
    model.load_state_dict({name: torch.stack([s["model"][name].float() for s in snapshots])
                          .mean(0).to(w.dtype) for name, w in snapshots[0]["model"].items()})
    return model


# ---- the drafter ----

@torch.no_grad()
def new_drafter(config, table):
    """Its embeddings begin as the backbone's: both tables mean the same words."""
    from transformers import Gemma4UnifiedAssistantConfig, Gemma4UnifiedAssistantForCausalLM
    torch.manual_seed(SEED + 1)
    cfg = Gemma4UnifiedAssistantConfig(**config)
    cfg._attn_implementation = cfg.text_config._attn_implementation = "sdpa"
    drafter = Gemma4UnifiedAssistantForCausalLM(cfg)
    for name, p in drafter.named_parameters():
        start(name, p, p.shape[0])
    if drafter.model.embed_tokens.weight.shape == table.shape:
        drafter.model.embed_tokens.weight.copy_(table)
    return drafter


def draft(a):
    torch.set_num_threads(1)   # faster than two on a busy machine
    tok, backbone, config = parts(a.work)
    # What users will have are the rounded weights: the drafter learns from their hidden states.
    model = snapshot_model(a.work, backbone).to(torch.bfloat16).float()
    drafter = new_drafter(config, model.model.language_model.embed_tokens.weight)
    path = os.path.join(a.work, "draft.pt")
    if os.path.exists(path):
        drafter.load_state_dict(torch.load(path, weights_only=True))
    plan = dict(DRAFT, **({"steps": a.steps} if a.steps else {}))
    mini_draft.train(model, drafter, tokenizer_of(tok), plan, a.work)


# ---- the folder ----

def save_weights(model, folder):
    """BF16, under the published names; the tied head is left out."""
    w = {tiny.disk_name(n): t.to(torch.bfloat16).contiguous()
         for n, t in model.state_dict().items() if n != "lm_head.weight"}
    save_file(dict(sorted(w.items())), os.path.join(folder, "model.safetensors"),
              metadata={"format": "pt"})


def save(a):
    """The folder: weights, drafter, settings, chat template, the log of the training."""
    tok, backbone, config = parts(a.work)
    assistant = os.path.join(a.out, "assistant")
    os.makedirs(assistant, exist_ok=True)
    model = snapshot_model(a.work, backbone)
    save_weights(model, a.out)
    tiny.write_settings(SPEC, a.out, tok, backbone)
    shutil.copy(os.path.join(HERE, "mini_chat.jinja"), os.path.join(a.out, "chat_template.jinja"))
    drafter = new_drafter(config, model.model.language_model.embed_tokens.weight)
    path = os.path.join(a.work, "draft.pt")
    if os.path.exists(path):
        drafter.load_state_dict(torch.load(path, weights_only=True))
    save_weights(drafter, assistant)
    tiny.write_json(os.path.join(assistant, "config.json"), config)
    tiny.write_json(os.path.join(assistant, "generation_config.json"), {"num_assistant_tokens": 4})
    for log in ("log.csv", "log_draft.csv"):
        if os.path.exists(os.path.join(a.work, log)):
            shutil.copy(os.path.join(a.work, log), os.path.join(a.out, log))
    mini_plot.plot(os.path.join(a.out, "log.csv"), os.path.join(a.out, "training.svg"))
    tiny.readable(a.out)
    tiny.check_folder(a.out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("what", choices=["train", "draft", "save"])
    ap.add_argument("--work", default=os.path.join(HERE, "miniature.work"))
    ap.add_argument("--out", default=os.path.join(HERE, "miniature"))
    ap.add_argument("--steps", type=int, help="stop there instead of at the recipe's end")
    ap.add_argument("--processes", type=int, default=2)
    a = ap.parse_args()
    {"train": train, "draft": draft, "save": save}[a.what](a)


if __name__ == "__main__":
    main()
