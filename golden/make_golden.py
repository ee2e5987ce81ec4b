#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Transformers on a request and writes every activation as a golden HDF5 file.

  make_golden.py                                           all of cases.json, to golden/tiny
  make_golden.py --only small/image small/text.f64         some of them
  make_golden.py --model DIR --case NAME --prompt T [--image F] [--audio F] [--video DIR] --out F.h5
      [--detail all|layer|output|mtp|generate] [--mask official|hf-helper|hf-forward|causal]
      [--dtype float32|float64] [--draft DIR] [--image-tokens N] [--last-position P]
  make_golden.py --model DIR --inputs CASE.h5 --out F.h5   the same ids and tensors, computed again

The format is written down in README.md.  Masks are always made here and passed in: left alone,
Transformers 5.14 - 5.22 would use the hf-forward mask without saying so."""
import argparse
import json
import os

import hf_setup
import h5py
import numpy as np
import torch

import hf_inputs
import hf_model
from hf_taps import Taps

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = {"float32": torch.float32, "float64": torch.float64}
INPUT_TYPES = {"input_ids": np.int32, "position_ids": np.int32, "mm_token_type_ids": np.int8,
               "image_position_ids": np.int32, "video_position_ids": np.int32,
               "num_frames_per_video": np.int32, "input_features_mask": np.uint8,
               "pixel_values": np.float32, "pixel_values_videos": np.float32,
               "input_features": np.float32}
UNBATCHED = ("input_ids", "position_ids", "mm_token_type_ids")
_cache = {}


def cached(load, folder, dtype):
    key = (load.__name__, os.path.abspath(folder), dtype)
    if key not in _cache:
        _cache.clear() if len(_cache) > 3 else None
        hf_model.set_precision(dtype)
        _cache[key] = load(folder, dtype)
    hf_model.set_precision(dtype)
    return _cache[key]


# ---- running the model ----

def run(model, inputs, masks, detail, dtype):
    """One prefill.  Returns ({golden path: tensor}, outputs of the model)."""
    kw = dict(inputs)
    mm = {}
    with torch.no_grad(), Taps(model, detail) as taps:
        if "pixel_values_videos" in kw:
            # forward() drops num_frames_per_video, so both kinds of picture are embedded here.
            if "pixel_values" in kw:
                mm["image"] = model.model.get_image_features(
                    kw.pop("pixel_values"), kw.pop("image_position_ids"), return_dict=True)
            mm["video"] = model.model.get_video_features(
                kw.pop("pixel_values_videos"), kw.pop("video_position_ids"),
                num_frames_per_video=kw.pop("num_frames_per_video"), return_dict=True)
        out = model(**kw, mm_encoder_outputs=mm or None,
                    attention_mask=hf_model.additive(masks, dtype),
                    use_cache=False, return_shared_kv_states=True)
    taps.data["logits"] = out.logits[0]
    return taps.data, out


def gap(logits, k=1):
    """How far apart the k-th and the next largest value are: a choice rests on it."""
    top = logits.topk(k + 1, dim=-1).values
    return float((top[..., k - 1] - top[..., k]).min())


def draft(model, drafter, out, norm, steps):
    """Draft steps as Transformers' candidate generator makes them, called directly on the
    prefill."""
    data, layers = {}, drafter.model.layers
    gaps = [gap(out.logits[0, -1])]
    kv = {k: (v[0], v[1]) for k, v in out.shared_kv_states.items()}
    for kind, (key, value) in kv.items():
        data[f"shared_kv/{kind}/key"], data[f"shared_kv/{kind}/value"] = key[0], value[0]
    data["hidden_last"], data["logits_last"] = norm[-1], out.logits[0, -1]
    token = out.logits[:, -1:].argmax(-1)
    hidden, position = norm[None, -1:], torch.tensor([[out.logits.shape[1]]])
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


# ---- HDF5 ----

def put(f, path, value):
    a = value.detach().numpy() if torch.is_tensor(value) else np.asarray(value)
    small = a.ndim == 0 or a.size < 64
    f.create_dataset(path, data=a, **({} if small else dict(compression="gzip", compression_opts=9,
                                                            shuffle=True)))


def write(path, attrs, inputs, extra, activations, masks, dtype):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with h5py.File(path, "w") as f:
        for k, v in attrs.items():
            f.attrs[k] = v
        for name, t in inputs.items():
            a = t.numpy().astype(INPUT_TYPES[name])
            put(f, f"inputs/{name}", a[0] if name in UNBATCHED else a)
        for name, v in extra.items():
            put(f, f"inputs/{name}", v)
        for name, t in activations.items():
            if not torch.isfinite(t).all():
                raise SystemExit(f"{path}: activations/{name} is not finite")
            assert t.dtype == dtype, (name, t.dtype)
            put(f, f"activations/{name}", t)
        for name, m in (masks or {}).items():
            put(f, f"activations/masks/{name}", m.numpy().astype(np.uint8))


def read_inputs(path):
    """inputs/* of a golden, as the model wants them."""
    with h5py.File(path) as f:
        got = {k: torch.from_numpy(np.asarray(v)) for k, v in f["inputs"].items()
               if k in INPUT_TYPES}
        attrs = {k: f.attrs[k] for k in ("case", "mask", "detail", "dtype", "prompt", "media",
                                         "image_tokens", "draft") if k in f.attrs}
        for name in ("drafted", "generated"):
            if name in f["inputs"]:
                attrs["count"] = len(f["inputs"][name])
    n = len(got["input_ids"])
    got.setdefault("position_ids", torch.arange(n))
    got.setdefault("mm_token_type_ids", torch.zeros(n))
    for name in UNBATCHED:
        got[name] = got[name].long()[None]
    for name in ("image_position_ids", "video_position_ids", "num_frames_per_video"):
        if name in got:
            got[name] = got[name].long()
    if "input_features_mask" in got:
        got["input_features_mask"] = got["input_features_mask"].bool()
    return got, attrs


# ---- cases ----

def make_case(folder, out, inputs, about, case, detail, mask, dtype_name, draft_dir, count,
              generate=0):
    """generate: tokens of greedy text to keep beside the activations (the demonstration's case)."""
    dtype = DTYPES[dtype_name]
    model = cached(hf_model.load_model, folder, dtype)
    torch.manual_seed(0)   # nothing here draws; said so that nobody has to wonder
    types = inputs["mm_token_type_ids"][0].tolist()
    masks = hf_model.make_masks(types, model.config.get_text_config().sliding_window, mask)
    checked = hf_model.check_masks(model, types, masks, mask)
    extra, data, keep = {}, {}, inputs
    if detail == "generate":
        drafter = cached(hf_model.load_drafter, draft_dir, dtype)
        if any(types):
            extra, margin = greedy_full(model, inputs, mask, count, dtype)
        else:
            extra, margin = greedy_hf(model, drafter, inputs, count)
            keep = {"input_ids": inputs["input_ids"]}
    else:
        data, result = run(model, inputs, masks, "output" if detail == "mtp" else detail, dtype)
        if detail == "mtp":
            drafter = cached(hf_model.load_drafter, draft_dir, dtype)
            data, extra, margin = draft(model, drafter, result, data["norm"], count)
            if not any(types):
                keep = {"input_ids": inputs["input_ids"]}
        elif generate:
            extra, margin = greedy_full(model, inputs, mask, generate, dtype)
    attrs = {
        "format": "gemma4-golden", "format_version": np.int32(1), "producer": hf_setup.versions(),
        "case": case, "dtype": dtype_name, "detail": detail, "mask": mask, **about,
        "model_sha256": hf_model.weights_sha256(folder), "attn_implementation": "eager",
        "seed": np.int32(0)}
    if detail in ("mtp", "generate"):
        attrs["draft"] = os.path.relpath(draft_dir, folder)
        attrs["draft_sha256"] = hf_model.weights_sha256(draft_dir)
    if detail in ("mtp", "generate") or generate:
        attrs["margin"] = margin   # smallest lead of a chosen token over the next one
    hide_masks = detail in ("mtp", "generate") or dtype == torch.float64
    write(out, attrs, keep, extra, data, None if hide_masks else masks, dtype)
    print(f"{out}: {len(types)} tokens, {len(data)} activations, {os.path.getsize(out)} bytes"
          f"{', mask checked' if checked else ''}"
          + (f", margin {margin:.4f}" if "margin" in attrs else "")
          + (f", {len(np.unique(extra['generated']))} different tokens" if "generated" in extra
             else ""))


def cases(path):
    """Every (model, file name, settings) of cases.json; a case with "f64" also has its twin."""
    with open(path, encoding="utf-8") as f:
        table = json.load(f)
    for model, rows in table["models"].items():
        for row in rows:
            row = {**table["defaults"], **row}
            if "text" in row:
                row["prompt"] = row.get("prompt", "") + table["texts"][row["text"]]
            yield model, row["case"], row, "float32"
            if row.get("f64"):
                yield model, row["case"] + ".f64", {**row, "detail": "output"}, "float64"


def make_listed(only, root):
    done = 0
    for model, name, row, dtype in cases(os.path.join(HERE, "cases.json")):
        if only and f"{model}/{name}" not in only:
            continue
        base = os.path.join(root, model)
        media = [tuple(m) for m in row["media"]]
        folder = os.path.join(base, "model")
        files = [(k, os.path.join(base, p)) for k, p in media]
        inputs, about = hf_inputs.build(folder, row["prompt"], files,
                                        row.get("image_tokens"), row.get("last_position"))
        if media:
            about["media"] = "\n".join(p for _, p in media)
        about["model"] = model
        make_case(folder, os.path.join(base, name + ".h5"), inputs, about, row["case"],
                  row["detail"],
                  row["mask"], dtype, os.path.join(folder, row["draft"]), row["count"],
                  0 if dtype == "float64" else row.get("generate", 0))
        done += 1
    if only and done != len(only):
        raise SystemExit("cases.json: not every case named was found")


class AddMedia(argparse.Action):
    """--image, --audio and --video in the order of the command line."""
    def __call__(self, parser, ns, value, option=None):
        ns.media = [*(ns.media or []), (option[2:], value)]


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--only", nargs="+", default=[])
    ap.add_argument("--root", default=os.path.join(HERE, "tiny"))
    ap.add_argument("--model")
    ap.add_argument("--draft")
    ap.add_argument("--case", default="case")
    ap.add_argument("--prompt")
    ap.add_argument("--inputs")
    for kind in ("--image", "--audio", "--video"):
        ap.add_argument(kind, action=AddMedia, dest="media")
    ap.add_argument("--detail", choices=["all", "layer", "output", "mtp", "generate"])
    ap.add_argument("--mask", choices=hf_model.MASKS)
    ap.add_argument("--dtype", choices=DTYPES)
    ap.add_argument("--image-tokens", type=int)
    ap.add_argument("--last-position", type=int)
    ap.add_argument("--count", type=int, help="draft steps (5) or tokens to generate (40)")
    ap.add_argument("--out")
    a = ap.parse_args()
    if a.only or not (a.model or a.out or a.prompt or a.inputs):
        return make_listed(set(a.only), a.root)
    if not a.model or not a.out or (a.prompt is None) == (a.inputs is None):
        ap.error("want --model DIR, --out F.h5 and one of --prompt and --inputs")
    if a.inputs:
        inputs, about = read_inputs(a.inputs)
    else:
        inputs, about = hf_inputs.build(a.model, a.prompt, a.media or [], a.image_tokens,
                                        a.last_position)
        if a.media:
            about["media"] = "\n".join(os.path.basename(p) for _, p in a.media)
    old = {k: about.pop(k, None) for k in ("case", "mask", "detail", "dtype", "count", "draft")}
    detail = a.detail or old["detail"] or "layer"
    count = a.count or old["count"] or (40 if detail == "generate" else 5)
    draft_dir = a.draft or os.path.join(a.model, old["draft"] or "assistant")
    about["model"] = os.path.basename(os.path.abspath(a.model))
    make_case(a.model, a.out, inputs, about, old["case"] or a.case, detail,
              a.mask or old["mask"] or "official",
              a.dtype or old["dtype"] or "float32", draft_dir, count)


if __name__ == "__main__":
    main()
