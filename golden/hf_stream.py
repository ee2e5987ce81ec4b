# SPDX-License-Identifier: Apache-2.0
"""Runs a checkpoint larger than memory: Transformers' own classes, the weights of one layer at a
time.

The whole model is built on the "meta" device, where parameters have shapes and no bytes.  Whatever
runs next is given its tensors from the safetensors files, cast, and loses them again: the vision
and audio embedders, each decoder layer, the final norm.  Of the embedding table only the rows of
the prompt are read; as output matrix it is read in blocks of rows.  All requests of one call go
through a layer before the next is read, so each weight is read once however many they are."""
import contextlib
import ctypes
import os
import sys
import time
from collections import UserDict
from types import SimpleNamespace

import hf_setup  # noqa: F401
import torch
import transformers.models.gemma4_unified.modeling_gemma4_unified as hf
from safetensors import safe_open
from transformers import AutoConfig, Gemma4UnifiedForConditionalGeneration
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

import hf_model
import hf_run
from hf_file import Writer
from hf_taps import Taps, read_taps, wanted

HEAD_BLOCK = 16384   # rows of the output matrix held at once: 250 MB in float32 for 12B
EMBED = "model.language_model.embed_tokens.weight"


def pages_of_their_own():
    """glibc before 2.38 seldom reuses freed aligned blocks, which all tensors are; under its
    threshold of up to 32 MB every layer would leave its smaller matrices behind as holes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-3, 1 << 20)   # M_MMAP_THRESHOLD: from 1 MB on, freed means given back


def say(text):
    """A line of progress on stderr, with the resident memory now and at its highest."""
    with open("/proc/self/status", encoding="ascii") as f:
        kib = dict(line.split(":") for line in f if line.startswith(("VmRSS", "VmHWM")))
    now, top = (int(kib[k].split()[0]) / 2 ** 20 for k in ("VmRSS", "VmHWM"))
    print(f"stream: {text}; {now:.2f} GiB resident, {top:.2f} at most", file=sys.stderr, flush=True)


# ---- weights ----

class Weights:
    """Tensors of a checkpoint folder, by the names that the model has in memory."""

    def __init__(self, folder, model):
        self.folder, self.where = folder, {}
        rules = get_model_conversion_mapping(model)
        names = [r for r in rules if isinstance(r, WeightRenaming)]
        if len(names) != len(rules):
            raise SystemExit(f"{folder}: weights that Transformers would compute while loading "
                             "cannot be streamed")
        has = model.state_dict()
        for shard in hf_model.weight_files(folder):
            with self.open(shard) as f:
                for key in f.keys():
                    name, _ = rename_source_key(key, names, [], model.base_model_prefix, has)
                    if self.where.setdefault(name, (shard, key)) != (shard, key):
                        raise SystemExit(f"{folder}: {name} is there twice")
                    if name in has and list(has[name].shape) != f.get_slice(key).get_shape():
                        raise SystemExit(f"{folder}/{shard}: {key} has not the shape that "
                                         "config.json gives it")
        self.head = "lm_head.weight"
        if model.config.get_text_config().tie_word_embeddings:
            self.head = EMBED
            has.pop("lm_head.weight")
        bad = {"missing": set(has) - set(self.where), "unexpected": set(self.where) - set(has)}
        bad = {k: sorted(v) for k, v in bad.items() if v}
        if bad:
            raise SystemExit(f"{folder}: {bad}")

    def open(self, shard):
        return safe_open(os.path.join(self.folder, shard), framework="pt")

    def read(self, name, dtype, rows=None):
        """The tensor, or the rows of a slice.  The file is closed again at once: its mapped pages
        would count as resident, and the copy does not need them."""
        shard, key = self.where[name]
        with self.open(shard) as f:
            part = f.get_tensor(key) if rows is None else f.get_slice(key)[rows]
            return part.to(dtype, copy=True)

    def gather(self, name, ids, dtype):
        shard, key = self.where[name]
        with self.open(shard) as f:
            table = f.get_slice(key)
            return torch.cat([table[i:i + 1].to(dtype, copy=True) for i in ids])

    @contextlib.contextmanager
    def inside(self, model, path, dtype):
        """The module with its weights, while the block lasts."""
        module = model.get_submodule(path)
        names = module.state_dict().keys()
        module.load_state_dict({n: self.read(f"{path}.{n}", dtype) for n in names}, assign=True)
        yield module
        module.to("meta")


class Rows(torch.nn.Module):
    """Stands for the embedding table: Transformers' class over the rows asked for, no others."""

    def __init__(self, weights, table, dtype):
        super().__init__()
        self.weights, self.dtype, self.scale = weights, dtype, table.scalar_embed_scale
        self.size, self.width = table.weight.shape

    def forward(self, ids):
        if int(ids.min()) < 0 or int(ids.max()) >= self.size:
            raise SystemExit(f"{self.weights.folder}: no token {int(ids.max())} in a vocabulary "
                             f"of {self.size}")
        some, at = ids.unique(return_inverse=True)
        part = hf.Gemma4UnifiedTextScaledWordEmbedding(len(some), self.width, None, self.scale)
        part.embed_scale = torch.tensor(self.scale, dtype=self.dtype)
        part.weight = torch.nn.Parameter(self.weights.gather(EMBED, some.tolist(), self.dtype))
        return part(at)


def skeleton(folder, dtype):
    """(the model without a byte of weights, its weights on disk)"""
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = Gemma4UnifiedForConditionalGeneration._from_config(
            config, dtype=dtype, attn_implementation="eager").eval()
    weights = Weights(folder, model)
    text = model.model.language_model
    # Its tables are computed, not loaded: made once more, with bytes.
    text.rotary_emb = hf.Gemma4UnifiedTextRotaryEmbedding(config.get_text_config())
    text.embed_tokens = Rows(weights, text.embed_tokens, dtype)
    return model, weights


# ---- one request ----

class StageTaps(Taps):
    """Taps of what runs next only: of one layer, or of all that stands outside the layers."""

    def __init__(self, model, detail, layer=None):
        super().__init__(model, detail)
        self.layer = layer

    def __enter__(self):
        layers = self.model.config.get_text_config().num_hidden_layers
        for _, path in read_taps():
            outside = path.startswith(("vision/", "audio/")) or path == "norm"
            mine = outside if self.layer is None else path.startswith("layers/")
            if mine and wanted(path, self.layer, layers, self.detail):
                self.attach(path, self.layer)
        return self


class Request:
    """A request on its way through the layers: what it has become, and the file it fills."""

    def __init__(self, job, model, dtype, file):
        self.job, self.file, self.dtype = job, file, dtype
        self.mtp = job["detail"] == "mtp"   # keeps only what the drafter starts from
        self.kv, self.last = UserDict(), []
        types = job["inputs"]["mm_token_type_ids"][0].tolist()
        config = model.config.get_text_config()
        self.masks = hf_model.make_masks(types, config.sliding_window, job["mask"])
        self.checked = hf_model.check_masks(model, types, self.masks, job["mask"])
        self.additive = hf_model.additive(self.masks, dtype)
        self.types = types

    def keep(self, data):
        if not self.mtp:
            self.file.activations(data)

    def embed(self, model):
        """Transformers' own forward up to the first layer."""
        text, seen = model.model.language_model, {}

        def stop(**kw):
            seen.update(kw)
            return SimpleNamespace(last_hidden_state=None, past_key_values=None,
                                   hidden_states=None, attentions=None, shared_kv_states=None)
        text.forward = stop
        with StageTaps(model, self.job["detail"]) as taps:
            model.model(**hf_run.embed_video(model.model, self.job["inputs"]),
                        attention_mask=self.additive, use_cache=False)
        del text.forward
        self.hidden, self.position_ids = seen["inputs_embeds"], seen["position_ids"]
        self.rope = {kind: text.rotary_emb(self.hidden, self.position_ids, kind)
                     for kind in text.unique_layer_types}
        self.keep({"embeddings": self.hidden[0].clone(), **taps.data})

    def step(self, model, i, layer, kind):
        with StageTaps(model, self.job["detail"], i) as taps:
            self.hidden = layer(
                self.hidden, shared_kv_states=self.kv, position_embeddings=self.rope[kind],
                attention_mask=self.additive[kind], position_ids=self.position_ids,
                past_key_values=None, return_shared_kv_states=True)
        self.keep(taps.data)

    def logits(self, head, at, vocab, softcap):
        """One block of columns, as the model's forward makes all of them."""
        part = torch.nn.functional.linear(self.hidden, head)
        if softcap is not None:
            part = part / softcap
            part = torch.tanh(part)
            part = part * softcap
        if self.mtp:
            self.last.append(part[0, -1].clone())
        else:
            self.file.columns("logits", part[0], at, vocab)


# ---- all requests ----

def prefill(model, weights, requests, dtype):
    """Every request through the model; each weight is read once."""
    config = model.config.get_text_config()
    with contextlib.ExitStack() as stack:
        for path, key in (("embed_vision", "pixel"), ("embed_audio", "input_features")):
            if any(n.startswith(key) for r in requests for n in r.job["inputs"]):
                if getattr(model.model, path) is None:
                    raise SystemExit(f"{weights.folder}: config.json has no {path[6:]}_config")
                stack.enter_context(weights.inside(model, f"model.{path}", dtype))
        for r in requests:
            r.embed(model)
    say(f"{len(requests)} requests, {sum(len(r.types) for r in requests)} tokens embedded")
    for i, kind in enumerate(config.layer_types[:config.num_hidden_layers]):
        start = time.monotonic()
        with weights.inside(model, f"model.language_model.layers.{i}", dtype) as layer:
            read = time.monotonic()
            for r in requests:
                r.step(model, i, layer, kind)
        say(f"layer {i + 1} of {config.num_hidden_layers} ({kind}): read {read - start:.1f} s, run "
            f"{time.monotonic() - read:.1f} s")
    with weights.inside(model, "model.language_model.norm", dtype) as norm:
        for r in requests:
            with StageTaps(model, "output") as taps:
                r.hidden = norm(r.hidden)
            r.keep(taps.data)
    for at in range(0, config.vocab_size, HEAD_BLOCK):
        head = weights.read(weights.head, dtype, slice(at, min(at + HEAD_BLOCK, config.vocab_size)))
        for r in requests:
            r.logits(head, at, config.vocab_size, config.final_logit_softcapping)
    say("logits written")


def make(jobs, describe):
    """jobs: make_golden.py's, all of one model and one dtype.  describe(job): attributes."""
    folder, dtype = jobs[0]["folder"], getattr(torch, jobs[0]["dtype_name"])
    if any(j["detail"] == "generate" or j["generate"] for j in jobs):
        raise SystemExit("--stream makes no greedy text: that is one pass over the weights a token")
    pages_of_their_own()
    hf_model.set_precision(dtype)
    model, weights = skeleton(folder, dtype)
    with torch.no_grad(), contextlib.ExitStack() as files:
        requests = [Request(j, model, dtype, files.enter_context(Writer(j["out"], dtype, j["leave_out"])))
                    for j in jobs]
        say(f"{folder}: adding up its sha256")
        for r in requests:
            r.file.attrs(describe(r.job))
        prefill(model, weights, requests, dtype)
        for r in requests:
            job, extra, keep = r.job, {}, r.job["inputs"]
            if r.mtp:
                drafter = hf_model.load_drafter(job["draft_dir"], dtype)
                data, extra, margin = hf_run.draft(model, drafter, torch.cat(r.last), r.kv,
                                                   r.hidden[0], job["count"])
                if not any(r.types):
                    keep = {"input_ids": keep["input_ids"]}
                r.file.attrs({"margin": margin})
                r.file.activations(data)
            elif dtype != torch.float64:
                r.file.masks(r.masks)
            r.file.inputs(keep, extra)
    for r in requests:
        print(f"{r.job['out']}: {len(r.types)} tokens, {r.file.kept} activations, "
              f"{os.path.getsize(r.job['out'])} bytes{', mask checked' if r.checked else ''}")
