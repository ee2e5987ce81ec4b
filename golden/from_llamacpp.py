#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what llama.cpp computes as a golden file: every activation of one prefill of text.

    from_llamacpp.py --model F.gguf (--inputs CASE.h5 | --prompt TEXT | --ids 2,17,...) --out OUT.h5
    gemma4 compare CASE.h5 OUT.h5            # the first dataset where llama.cpp leaves the golden
    gemma4 verify --model DIR OUT.h5         # ... or where it leaves this program

Needs llama-cpp-python (`pip install llama-cpp-python==0.3.36`; LLAMA_CPP_LIB_PATH names a folder
with a libllama.so of the same release instead of the package's own), numpy and h5py.  llama.cpp's
scheduler shows each tensor of its graph to a callback; those below are kept under the names of
ref/model/taps.def.  Products of weights are known by the weight's name, because llama.cpp renames
some (a full layer's keys are called values), and has none for the attention's output."""
import argparse
import ctypes
import os
import re
import sys

import h5py
import numpy as np

# llama.cpp's name -> taps.def's; %L is the layer.  By weight: the matrix that the product is with.
BY_WEIGHT = {"attn_q": "self_attn/q_proj", "attn_k": "self_attn/k_proj",
             "attn_v": "self_attn/v_proj", "attn_output": "self_attn/o_proj",
             "ffn_gate": "mlp/gate_proj", "ffn_up": "mlp/up_proj", "ffn_down": "mlp/down_proj"}
BY_NAME = {"attn_norm": "input_layernorm", "Qcur_normed": "self_attn/q_norm",
           "Kcur_normed": "self_attn/k_norm", "Vcur_normed": "self_attn/v_norm",
           "kqv_out": "self_attn/context", "attn_post_norm": "post_attention_layernorm",
           "ffn_norm": "pre_feedforward_layernorm", "ffn_post_norm": "post_feedforward_layernorm",
           "l_out": "output"}
WHOLE = {"inp_scaled": "embeddings", "result_norm": "norm", "result_output": "logits"}
HEADS = ("q_norm", "k_norm", "v_norm")   # [T][heads][H]; all others [T][columns]


class Tensor(ctypes.Structure):
    """ggml_tensor, as far as it is read here (ggml.h of llama-cpp-python 0.3.36)."""


Tensor._fields_ = [("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4),
                   ("nb", ctypes.c_size_t * 4), ("op", ctypes.c_int),
                   ("op_params", ctypes.c_int32 * 16), ("flags", ctypes.c_int32),
                   ("src", ctypes.POINTER(Tensor) * 10), ("view_src", ctypes.c_void_p),
                   ("view_offs", ctypes.c_size_t), ("data", ctypes.c_void_p),
                   ("name", ctypes.c_char * 64)]


def library():
    """The binding's module, quiet, with the three functions of ggml that it does not bind."""
    import llama_cpp.llama_cpp as lib
    if lib.__dict__.get("g4_ready"):
        return lib
    lib.g4_log = lib.llama_log_callback(lambda level, text, data: None)
    lib.llama_log_set(lib.g4_log, None)
    lib.llama_backend_init()
    at = ctypes.POINTER(Tensor)
    for name, result, args in (("ggml_get_name", ctypes.c_char_p, [at]),
                               ("ggml_op_desc", ctypes.c_char_p, [at]),
                               ("ggml_backend_tensor_get", None,
                                [at, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t])):
        f = getattr(lib._lib, name)
        f.restype, f.argtypes = result, args
        setattr(lib, name, f)
    lib.g4_ready = True
    return lib


def tap_of(lib, t):
    """The golden's name of a tensor, below activations/, or None."""
    name = lib.ggml_get_name(t).decode()
    if t.contents.name.decode(errors="replace") != name:
        raise SystemExit("from_llamacpp: this llama.cpp lays its tensors out in another way")
    if name in WHOLE:
        return WHOLE[name]
    m = re.fullmatch(r"(\w+)-(\d+)", name)
    if m and m[1] in BY_NAME:
        return f"layers/{int(m[2]):02d}/{BY_NAME[m[1]]}"
    if lib.ggml_op_desc(t) == b"MUL_MAT" and t.contents.src[0]:
        weight = lib.ggml_get_name(t.contents.src[0]).decode()
        m = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", weight)
        if m and m[2] in BY_WEIGHT:
            return f"layers/{int(m[1]):02d}/{BY_WEIGHT[m[2]]}"
    return None


class Model:
    """A GGUF in llama.cpp.  Keys and values are kept in float32 and attention is the plain one
    unless said otherwise: what is left to differ is the weights and the products with them."""

    def __init__(self, path, threads=1, flash=False, kv="f32"):
        self.lib, self.threads, self.flash = library(), threads, flash
        self.kv = {"f32": self.lib.GGML_TYPE_F32, "f16": self.lib.GGML_TYPE_F16}[kv]
        p = self.lib.llama_model_default_params()
        p.n_gpu_layers = 0
        self.model = self.lib.llama_model_load_from_file(os.fsencode(path), p)
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp cannot load it")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.columns = self.lib.llama_vocab_n_tokens(self.vocab)

    def close(self):
        self.lib.llama_model_free(self.model)

    def tokens(self, text, special=True, bos=True):
        data = text.encode()
        room = len(data) + 8
        ids = (self.lib.llama_token * room)()
        n = self.lib.llama_tokenize(self.vocab, data, len(data), ids, room, bos, special)
        if n < 0:
            raise SystemExit("from_llamacpp: llama.cpp cannot tokenize the text")
        return list(ids[:n])

    def run(self, ids, positions=None, taps=False):
        """One prefill: (logits [T][V], {golden path: array} where taps)."""
        lib, n, kept = self.lib, len(ids), {}

        @lib.ggml_backend_sched_eval_callback
        def watch(at, ask, _):
            t = ctypes.cast(at, ctypes.POINTER(Tensor))
            path = tap_of(lib, t)
            if path is None:
                return not ask
            if not ask:
                kept[path] = self.read(t, path)
            return True

        c = lib.llama_context_default_params()
        c.n_ctx, c.n_batch, c.n_ubatch, c.n_seq_max = n, n, n, 1
        c.n_threads = c.n_threads_batch = self.threads
        c.type_k = c.type_v = self.kv
        c.flash_attn_type = 1 if self.flash else 0
        c.no_perf = True
        if taps:
            c.cb_eval = watch
        context = lib.llama_init_from_model(self.model, c)
        if not context:
            raise SystemExit("from_llamacpp: llama.cpp makes no context")
        batch = lib.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i, t in enumerate(ids):
            batch.token[i], batch.n_seq_id[i], batch.seq_id[i][0] = t, 1, 0
            batch.pos[i], batch.logits[i] = int(positions[i]) if positions is not None else i, 1
        failed = lib.llama_decode(context, batch)
        if not failed:
            logits = np.ctypeslib.as_array(lib.llama_get_logits(context),
                                           (n, self.columns)).copy()
        lib.llama_batch_free(batch)
        lib.llama_free(context)
        if failed:
            raise SystemExit(f"from_llamacpp: llama_decode fails with {failed}")
        return logits, kept

    def read(self, t, path):
        """A contiguous float32 tensor, its slowest dimension first."""
        ne, nb = list(t.contents.ne), list(t.contents.nb)
        if t.contents.type != self.lib.GGML_TYPE_F32 or \
                nb != [4, 4 * ne[0], 4 * ne[0] * ne[1], 4 * ne[0] * ne[1] * ne[2]] or ne[3] != 1:
            raise SystemExit(f"from_llamacpp: {path}: is not a plain float32 tensor")
        out = np.empty(ne[0] * ne[1] * ne[2], np.float32)
        self.lib.ggml_backend_tensor_get(t, out.ctypes.data, 0, out.nbytes)
        heads = path.endswith(HEADS)
        return out.reshape((ne[2], ne[1], ne[0]) if heads else (-1, ne[0]))


def put(f, path, a):
    f.create_dataset(path, data=a, **({} if a.size < 64 else
                                      {"compression": "gzip", "shuffle": True}))


def write(path, ids, positions, data, attrs):
    """A golden file; the name appears when it is whole."""
    part = path + ".part"
    try:
        with h5py.File(part, "w") as f:
            for k, v in {"format": "gemma4-golden", "format_version": np.int32(1),
                         "dtype": "float32", "detail": "all", **attrs}.items():
                f.attrs[k] = v
            put(f, "inputs/input_ids", np.asarray(ids, np.int32))
            put(f, "inputs/position_ids", np.asarray(positions, np.int32))
            for name, a in data.items():
                put(f, "activations/" + name, a)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def request(a, model):
    """ids, positions and attributes of what was asked."""
    attrs = {"case": os.path.splitext(os.path.basename(a.out))[0]}
    if a.inputs:
        with h5py.File(a.inputs) as f:
            ids = np.asarray(f["inputs/input_ids"])
            positions = np.asarray(f["inputs/position_ids"]) if "inputs/position_ids" in f \
                else np.arange(len(ids))
            if "inputs/mm_token_type_ids" in f and np.any(f["inputs/mm_token_type_ids"]):
                raise SystemExit(f"{a.inputs}: has pictures or sound; only text goes through here")
            attrs |= {k: f.attrs[k] for k in ("case", "model", "prompt", "mask") if k in f.attrs}
        return list(map(int, ids)), positions, attrs
    ids = [int(t) for t in a.ids.split(",")] if a.ids else model.tokens(a.prompt)
    if a.prompt:
        attrs["prompt"] = a.prompt
    return ids, np.arange(len(ids)), attrs


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, metavar="F.gguf")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--inputs", metavar="CASE.h5")
    what.add_argument("--prompt", metavar="TEXT")
    what.add_argument("--ids", metavar="N,...")
    p.add_argument("--out", required=True, metavar="OUT.h5")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--kv", choices=("f32", "f16"), default="f32")
    p.add_argument("--flash", action="store_true", help="llama.cpp's flash attention")
    a = p.parse_args()
    model = Model(a.model, a.threads, a.flash, a.kv)
    ids, positions, attrs = request(a, model)
    if not ids or min(ids) < 0 or max(ids) >= model.columns:
        raise SystemExit(f"from_llamacpp: ids must be 0 to {model.columns - 1}, and one at least")
    _, data = model.run(ids, positions, taps=True)
    model.close()
    from importlib.metadata import PackageNotFoundError, version
    try:
        producer = "llama.cpp of llama-cpp-python " + version("llama-cpp-python")
    except PackageNotFoundError:
        import llama_cpp
        producer = "llama.cpp of llama-cpp-python " + llama_cpp.__version__
    attrs.setdefault("mask", "hf-helper")   # [N8]; text is the same under all four
    write(a.out, ids, positions, data, {"producer": producer, **attrs})
    layers = len({k.split("/")[1] for k in data if k.startswith("layers/")})
    print(f"{a.out}: {len(ids)} tokens, {layers} layers, {len(data)} activations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
