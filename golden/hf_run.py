# SPDX-License-Identifier: Apache-2.0
"""One request through a loaded model: a prefill, draft steps, greedy text."""
import hf_setup  # noqa: F401
import numpy as np
import torch

import hf_model
from hf_taps import Taps


def embed_video(core, inputs):
    """The arguments of forward(), which drops num_frames_per_video: with a video, both kinds of
    picture are embedded here."""
    kw, mm = dict(inputs), {}
    if "pixel_values_videos" in kw:
        if "pixel_values" in kw:
            mm["image"] = core.get_image_features(
                kw.pop("pixel_values"), kw.pop("image_position_ids"), return_dict=True)
        mm["video"] = core.get_video_features(
            kw.pop("pixel_values_videos"), kw.pop("video_position_ids"),
            num_frames_per_video=kw.pop("num_frames_per_video"), return_dict=True)
    return {**kw, "mm_encoder_outputs": mm or None}


def run(model, inputs, masks, detail, dtype):
    """One prefill.  Returns ({golden path: tensor}, outputs of the model)."""
    with torch.no_grad(), Taps(model, detail) as taps:
        out = model(**embed_video(model.model, inputs), attention_mask=hf_model.additive(masks, dtype),
                    use_cache=False, return_shared_kv_states=True)
    taps.data["logits"] = out.logits[0]
    return taps.data, out


def gap(logits, k=1):
    """How far apart the k-th and the next largest value are: a choice rests on it."""
    top = logits.topk(k + 1, dim=-1).values
    return float((top[..., k - 1] - top[..., k]).min())


def draft(model, drafter, last, shared_kv, norm, steps):
    """Draft steps as Transformers' candidate generator makes them, called directly on the
    prefill, of which `last` are the logits of the last token."""
    data, layers = {}, drafter.model.layers
    gaps = [gap(last)]
    kv = {k: (v[0], v[1]) for k, v in shared_kv.items()}
    for kind, (key, value) in kv.items():
        data[f"shared_kv/{kind}/key"], data[f"shared_kv/{kind}/value"] = key[0], value[0]
    data["hidden_last"], data["logits_last"] = norm[-1], last
    token = last[None, None].argmax(-1)
    hidden, position = norm[None, -1:], torch.tensor([[norm.shape[0]]])
    extra = {"next_token": np.int32(token.item()), "position_id": np.int32(position.item())}
    drafted, seen = [], {}
    hooks = [m.register_forward_hook(lambda m, a, o, i=i: seen.__setitem__(i, o.detach().clone()))
             for i, m in enumerate(layers)]
    if drafter.masked_embedding is not None:
        head = drafter.masked_embedding
        hooks.append(head.centroids.register_forward_hook(
            lambda m, a, o: gaps.append(gap(o, head.centroid_intermediate_top_k))))
    for s in range(steps):
        x = torch.cat([model.get_input_embeddings()(token), hidden], dim=-1)
        with torch.no_grad():
            o = drafter(inputs_embeds=x, position_ids=position, shared_kv_states=kv,
                        attention_mask=None)
        token, hidden = o.logits.argmax(-1), o.last_hidden_state
        gaps.append(gap(o.logits))
        drafted.append(token.item())
        data[f"mtp/step{s}/inputs_embeds"], data[f"mtp/step{s}/hidden"] = x[0, 0], hidden[0, 0]
        data[f"mtp/step{s}/logits"] = o.logits[0, 0]
        for i in range(len(layers) - 1):
            data[f"mtp/step{s}/layers/{i:02d}/output"] = seen[i][0, 0]
    for h in hooks:
        h.remove()
    extra["drafted"] = np.array(drafted, np.int32)
    return data, extra, min(gaps)


def greedy_hf(model, drafter, inputs, tokens):
    """Transformers' generate: greedy, suppressed tokens never, no stop token; then with the
    drafter."""
    import copy
    config = copy.deepcopy(model.generation_config)
    config.update(do_sample=False, temperature=None, top_k=None, top_p=None, max_new_tokens=tokens)
    config.eos_token_id = None
    ids, n = inputs["input_ids"], inputs["input_ids"].shape[1]
    result = {}
    for name, assistant in (("generated", None), ("assisted", drafter)):
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids),
                             generation_config=config, assistant_model=assistant)
        result[name] = out[0, n:].numpy().astype(np.int32)
    if not np.array_equal(result["generated"], result["assisted"]):
        raise SystemExit("greedy text with the drafter differs from the text without it")
    full = torch.cat([ids[0], torch.from_numpy(result["generated"][:-1]).long()])[None]
    with torch.no_grad():
        logits = model(input_ids=full, use_cache=False).logits[0, n - 1:]
    logits[:, config.suppress_tokens or []] = -torch.inf
    if logits.argmax(-1).tolist() != result["generated"].tolist():
        raise SystemExit("greedy text with a cache differs from the text without one")
    return result, gap(logits)


def greedy_full(model, inputs, mask, tokens, dtype):
    """Greedy with media: the whole sequence again for each token, under the named mask."""
    inputs = dict(inputs)
    suppress = list(model.generation_config.suppress_tokens or [])
    window = model.config.get_text_config().sliding_window
    made, gaps = [], []
    for _ in range(tokens):
        masks = hf_model.make_masks(inputs["mm_token_type_ids"][0].tolist(), window, mask)
        data, _ = run(model, inputs, masks, "output", dtype)
        last = data["logits"][-1].clone()
        last[suppress] = -torch.inf
        made.append(int(last.argmax()))
        gaps.append(gap(last))
        for name, value in (("input_ids", made[-1]), ("mm_token_type_ids", 0),
                            ("position_ids", int(inputs["position_ids"][0, -1]) + 1)):
            inputs[name] = torch.cat([inputs[name], torch.tensor([[value]])], dim=1)
    return {"generated": np.array(made, np.int32)}, min(gaps)
