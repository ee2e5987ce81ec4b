#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Transformers on a request and writes every activation as a golden HDF5 file.

  make_golden.py                                           all of cases.json, to golden/tiny
  make_golden.py --only small/image small/text.f64         some of them
  make_golden.py --model DIR --case NAME --prompt T [--image F] [--audio F] [--video DIR] --out F.h5
      [--detail all|layer|output|mtp|generate] [--mask official|hf-helper|hf-forward|causal]
      [--dtype float32|float64] [--draft DIR] [--image-tokens N] [--last-position P]
  make_golden.py --model DIR --inputs CASE.h5 --out F.h5   the same ids and tensors, computed again
  make_golden.py --model DIR --list F.json --to DIR        several requests: [{"case": ..,
      "prompt": .., "media": [["image", "F.png"], ..], "detail", "mask", "dtype", ..}, ..]
  any of these with --stream: one layer's weights in memory at a time, each read once for all
      requests together; the values are the same

The format is written down in README.md.  Masks are always made here and passed in: left alone,
Transformers 5.14 - 5.22 would use the hf-forward mask without saying so."""
import argparse
import itertools
import json
import os

import hf_setup
import numpy as np
import torch

import hf_inputs
import hf_model
import hf_run
from hf_file import Writer, read_inputs

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = {"float32": torch.float32, "float64": torch.float64}
DEFAULTS = {"detail": "layer", "mask": "official", "dtype": "float32", "count": 0,
            "draft": "assistant"}
LEAN = ("layers/", "logits")   # left out of a lean case: what is between is in its end
_cache = {}


def cached(load, folder, dtype):
    key = (load.__name__, os.path.abspath(folder), dtype)
    if key not in _cache:
        _cache.clear() if len(_cache) > 3 else None
        hf_model.set_precision(dtype)
        _cache[key] = load(folder, dtype)
    hf_model.set_precision(dtype)
    return _cache[key]


# ---- one case ----

def make_job(folder, out, inputs, about, case, detail, mask, dtype_name, draft_dir, count,
             generate=0, lean=False):
    """generate: tokens of greedy text to keep beside the activations (the demonstration's case).
    lean: of the activations only soft tokens, embeddings, norm and masks."""
    return {"folder": folder, "out": out, "inputs": inputs, "about": about, "case": case,
            "detail": detail, "mask": mask, "dtype_name": dtype_name, "draft_dir": draft_dir,
            "count": count or (40 if detail == "generate" else 5), "generate": generate,
            "leave_out": LEAN if lean else ()}


def describe(job):
    """The attributes of a job's file, but for `margin`."""
    attrs = {
        "format": "gemma4-golden", "format_version": np.int32(1), "producer": hf_setup.versions(),
        "case": job["case"], "dtype": job["dtype_name"], "detail": job["detail"],
        "mask": job["mask"], **job["about"], "model_sha256": hf_model.weights_sha256(job["folder"]),
        "attn_implementation": "eager", "seed": np.int32(0)}
    if job["leave_out"]:
        attrs["left_out"] = " ".join(job["leave_out"])
    if job["detail"] in ("mtp", "generate"):
        attrs["draft"] = os.path.relpath(job["draft_dir"], job["folder"])
        attrs["draft_sha256"] = hf_model.weights_sha256(job["draft_dir"])
    return attrs


def make_case(job):
    inputs, detail, mask, count = (job[k] for k in ("inputs", "detail", "mask", "count"))
    dtype = DTYPES[job["dtype_name"]]
    model = cached(hf_model.load_model, job["folder"], dtype)
    torch.manual_seed(0)   # nothing here draws; said so that nobody has to wonder
    types = inputs["mm_token_type_ids"][0].tolist()
    masks = hf_model.make_masks(types, model.config.get_text_config().sliding_window, mask)
    checked = hf_model.check_masks(model, types, masks, mask)
    extra, data, keep, margin = {}, {}, inputs, None
    if detail == "generate":
        drafter = cached(hf_model.load_drafter, job["draft_dir"], dtype)
        if any(types):
            extra, margin = hf_run.greedy_full(model, inputs, mask, count, dtype)
        else:
            extra, margin = hf_run.greedy_hf(model, drafter, inputs, count)
            keep = {"input_ids": inputs["input_ids"]}
    else:
        data, result = hf_run.run(model, inputs, masks, "output" if detail == "mtp" else detail,
                                  dtype)
        if detail == "mtp":
            drafter = cached(hf_model.load_drafter, job["draft_dir"], dtype)
            data, extra, margin = hf_run.draft(model, drafter, result.logits[0, -1],
                                               result.shared_kv_states, data["norm"], count)
            if not any(types):
                keep = {"input_ids": inputs["input_ids"]}
        elif job["generate"]:
            extra, margin = hf_run.greedy_full(model, inputs, mask, job["generate"], dtype)
    attrs = describe(job)
    if margin is not None:
        attrs["margin"] = margin   # smallest lead of a chosen token over the next one
    with Writer(job["out"], dtype, job["leave_out"]) as f:
        f.attrs(attrs)
        f.inputs(keep, extra)
        f.activations(data)
        if detail not in ("mtp", "generate") and dtype != torch.float64:
            f.masks(masks)
    print(f"{job['out']}: {len(types)} tokens, {len(data)} activations, "
          f"{os.path.getsize(job['out'])} bytes{', mask checked' if checked else ''}"
          + (f", margin {margin:.4f}" if margin is not None else "")
          + (f", {len(np.unique(extra['generated']))} different tokens" if "generated" in extra
             else ""))


# ---- lists of cases ----

def cases(path):
    """Every (model, file name, settings) of cases.json; a case with "f64" also has its twin."""
    with open(path, encoding="utf-8") as f:
        table = json.load(f)
    for model, rows in table["models"].items():
        for row in rows:
            row = {**table["defaults"], **row}
            if "text" in row:
                row["prompt"] = row.get("prompt", "") + table["texts"][row["text"]]
            yield model, row["case"], row
            if row.get("f64"):
                yield model, row["case"] + ".f64", {**row, "detail": "output", "generate": 0,
                                                    "dtype": "float64"}


def row_job(folder, model, row, base, out):
    """One row of a list; its media lie in the folder `base`."""
    row = {**DEFAULTS, **row}
    media = [tuple(m) for m in row.get("media", [])]
    files = [(k, os.path.join(base, p)) for k, p in media]
    inputs, about = hf_inputs.build(folder, row["prompt"], files, row.get("image_tokens"),
                                    row.get("last_position"))
    if media:
        about["media"] = "\n".join(p for _, p in media)
    about["model"] = model
    return make_job(folder, out, inputs, about, row["case"], row["detail"], row["mask"],
                    row["dtype"], os.path.join(folder, row["draft"]), row["count"],
                    row.get("generate", 0), row.get("lean", False))


def listed(only, root, to):
    """The jobs of cases.json."""
    done = 0
    for model, name, row in cases(os.path.join(HERE, "cases.json")):
        if only and f"{model}/{name}" not in only:
            continue
        base = os.path.join(root, model)
        yield row_job(os.path.join(base, "model"), model, row, base,
                      os.path.join(to or root, model, name + ".h5"))
        done += 1
    if only and done != len(only):
        raise SystemExit("cases.json: not every case named was found")


def of_list(path, folder, to):
    """The jobs of a user's list; media are relative to the list."""
    with open(path, encoding="utf-8") as f:
        rows = json.load(f)
    if not isinstance(rows, list) or not all(
            isinstance(r, dict) and isinstance(r.get("case"), str) and
            isinstance(r.get("prompt"), str) for r in rows):
        raise SystemExit(f"{path}: want a list of objects with \"case\" and \"prompt\"")
    if len({r["case"] for r in rows}) != len(rows):
        raise SystemExit(f"{path}: two cases of one name")
    name = os.path.basename(os.path.abspath(folder))
    for row in rows:
        yield row_job(folder, name, row, os.path.dirname(os.path.abspath(path)),
                      os.path.join(to, row["case"] + ".h5"))


def of_options(a):
    """The job of --prompt or --inputs."""
    if a.inputs:
        inputs, about = read_inputs(a.inputs)
    else:
        inputs, about = hf_inputs.build(a.model, a.prompt, a.media or [], a.image_tokens,
                                        a.last_position)
        if a.media:
            about["media"] = "\n".join(os.path.basename(p) for _, p in a.media)
    old = {k: about.pop(k, None) for k in ("case", "mask", "detail", "dtype", "count", "draft")}
    got = {k: getattr(a, k) or old[k] or DEFAULTS[k] for k in ("mask", "detail", "dtype", "count")}
    about["model"] = os.path.basename(os.path.abspath(a.model))
    return make_job(a.model, a.out, inputs, about, old["case"] or a.case, got["detail"],
                    got["mask"], got["dtype"],
                    a.draft or os.path.join(a.model, old["draft"] or "assistant"), got["count"])


def make_all(jobs, stream):
    if not stream:
        for job in jobs:
            make_case(job)
        return
    import hf_stream
    jobs = sorted(jobs, key=lambda j: (j["folder"], j["dtype_name"]))
    for _, group in itertools.groupby(jobs, key=lambda j: (j["folder"], j["dtype_name"])):
        hf_stream.make(list(group), describe)


class AddMedia(argparse.Action):
    """--image, --audio and --video in the order of the command line."""
    def __call__(self, parser, ns, value, option=None):
        ns.media = [*(ns.media or []), (option[2:], value)]


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--only", nargs="+", default=[])
    ap.add_argument("--root", default=os.path.join(HERE, "tiny"))
    ap.add_argument("--to", help="folder of the files made (default: the root)")
    ap.add_argument("--model")
    ap.add_argument("--draft")
    ap.add_argument("--case", default="case")
    ap.add_argument("--prompt")
    ap.add_argument("--inputs")
    ap.add_argument("--list", help="requests, JSON")
    for kind in ("--image", "--audio", "--video"):
        ap.add_argument(kind, action=AddMedia, dest="media")
    ap.add_argument("--detail", choices=["all", "layer", "output", "mtp", "generate"])
    ap.add_argument("--mask", choices=hf_model.MASKS)
    ap.add_argument("--dtype", choices=DTYPES)
    ap.add_argument("--image-tokens", type=int)
    ap.add_argument("--last-position", type=int)
    ap.add_argument("--count", type=int, help="draft steps (5) or tokens to generate (40)")
    ap.add_argument("--stream", action="store_true")
    ap.add_argument("--out")
    a = ap.parse_args()
    if a.list:
        if not a.model or not a.to or a.prompt or a.inputs or a.out:
            ap.error("--list wants --model DIR and --to DIR, and no request beside it")
        return make_all(of_list(a.list, a.model, a.to), a.stream)
    if a.only or not (a.model or a.out or a.prompt or a.inputs):
        return make_all(listed(set(a.only), a.root, a.to), a.stream)
    if not a.model or not a.out or (a.prompt is None) == (a.inputs is None):
        ap.error("want --model DIR, --out F.h5 and one of --prompt and --inputs")
    make_all([of_options(a)], a.stream)


if __name__ == "__main__":
    main()
