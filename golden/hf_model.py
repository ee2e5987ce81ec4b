# SPDX-License-Identifier: Apache-2.0
"""Loads the model in Transformers, in float32 or wholly in float64, and makes the four named
masks."""
import functools
import hashlib
import json
import os

import hf_setup  # noqa: F401
import torch
import transformers.models.gemma4_unified.modeling_gemma4_unified as hf
from transformers import Gemma4UnifiedAssistantForCausalLM, Gemma4UnifiedForConditionalGeneration

MASKS = ("official", "hf-helper", "hf-forward", "causal")


# ---- float64: Transformers casts to float32 in three places, whatever the weights are ----

def _rmsnorm64(self, x):
    y = x * torch.pow(x.pow(2).mean(-1, keepdim=True) + self.eps, -0.5)
    return y * self.weight if self.with_scale else y


def _rope64(self, x, position_ids, layer_type):
    inv = getattr(self, f"{layer_type}_inv_freq")
    assert inv.dtype == torch.float32
    # The angle stays the float32 product: it is part of the model's definition, not of its
    # rounding.
    angle = (position_ids[..., None].float() * inv).double()
    angle = torch.cat((angle, angle), dim=-1)
    scale = getattr(self, f"{layer_type}_attention_scaling")
    return angle.cos() * scale, angle.sin() * scale


def _attention64(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs):
    key = hf.repeat_kv(key, module.num_key_value_groups)
    value = hf.repeat_kv(value, module.num_key_value_groups)
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


_F32 = (hf.Gemma4UnifiedRMSNorm.forward, hf.Gemma4UnifiedTextRotaryEmbedding.forward,
        hf.eager_attention_forward)


def set_precision(dtype):
    norm, rope, attention = (_rmsnorm64, _rope64, _attention64) if dtype == torch.float64 else _F32
    hf.Gemma4UnifiedRMSNorm.forward = norm
    hf.Gemma4UnifiedTextRotaryEmbedding.forward = rope
    hf.eager_attention_forward = attention


def _load(cls, folder, dtype):
    model, info = cls.from_pretrained(folder, dtype=dtype, attn_implementation="eager",
                                      output_loading_info=True)
    bad = {k: sorted(v) for k, v in info.items() if v}
    if bad:
        raise SystemExit(f"{folder}: {bad}")
    return model.eval()


def load_model(folder, dtype):
    return _load(Gemma4UnifiedForConditionalGeneration, folder, dtype)


def load_drafter(folder, dtype):
    return _load(Gemma4UnifiedAssistantForCausalLM, folder, dtype)


def weight_files(folder):
    index = os.path.join(folder, "model.safetensors.index.json")
    if not os.path.exists(index):
        return ["model.safetensors"]
    with open(index, encoding="utf-8") as f:
        return sorted(set(json.load(f)["weight_map"].values()))


@functools.cache
def weights_sha256(folder):
    """Of the one weight file; of "sha256  name" lines in name order where there are several."""
    names, sums = weight_files(folder), []
    for name in names:
        h = hashlib.sha256()
        with open(os.path.join(folder, name), "rb") as f:
            while block := f.read(1 << 22):
                h.update(block)
        sums.append(h.hexdigest())
    if len(sums) == 1:
        return sums[0]
    return hashlib.sha256("".join(f"{s}  {n}\n" for s, n in zip(sums, names)).encode()).hexdigest()


# ---- masks ----

def blocks(types):
    """Number of the image block of each token, -1 outside; video frames are blocks too."""
    out, count, before = [], -1, False
    for t in types:
        inside = t in (1, 2)
        count += inside and not before
        out.append(count if inside else -1)
        before = inside
    return torch.tensor(out)


def make_masks(types, window, name):
    """{'full_attention', 'sliding_attention'}: bool [T][T], True where the row may see the
    column."""
    n = len(types)
    q, k = torch.arange(n)[:, None], torch.arange(n)[None]
    b = blocks(types)
    same = (b[:, None] == b[None]) & (b[:, None] >= 0)
    causal, near = k <= q, k > q - window
    if name == "hf-forward":
        return {"full_attention": causal | same, "sliding_attention": (causal & near) | same}
    see = causal if name == "causal" else causal | same
    see = see & near
    if name == "official":
        see = see & (k < q + window)
    return {"full_attention": causal, "sliding_attention": see}


def additive(masks, dtype):
    low = torch.finfo(dtype).min
    return {k: torch.zeros(m.shape, dtype=dtype).masked_fill(~m, low)[None, None]
            for k, m in masks.items()}


def check_masks(model, types, masks, name):
    """Three of the four are what a function of Transformers makes: hold ours against it."""
    config = model.config.get_text_config()
    n = len(types)
    kw = dict(config=config, inputs_embeds=torch.zeros(1, n, config.hidden_size),
              past_key_values=None,
              attention_mask=torch.ones(1, n, dtype=torch.long), position_ids=torch.arange(n)[None])
    mm = torch.tensor([list(types)])
    if name == "hf-helper":
        theirs = hf.create_masks_for_vision_model(
            block_sequence_ids=hf.get_block_sequence_ids_for_mask(mm, device="cpu"), **kw)
    elif name == "hf-forward":
        theirs = hf.create_masks_for_generate(
            block_sequence_ids=hf.get_block_sequence_ids_for_mask(mm, device="cpu"), **kw)
    elif name == "causal":
        theirs = {"full_attention": hf.create_causal_mask(**kw),
                  "sliding_attention": hf.create_sliding_window_causal_mask(**kw)}
    else:
        return False
    for key, ours in masks.items():
        if not torch.equal(theirs[key][0, 0] == 0, ours):
            raise SystemExit(f"mask {name}: our {key} is not the one Transformers makes")
    return True
