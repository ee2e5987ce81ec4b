#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Number formats against the gguf package and against ggml.

  check_formats.py --source LLAMA_CPP_PYTHON_SOURCE --work DIR [--seed 1] [--blocks 4000]

Compiles ref/dtype and ggml's quantizers into two shared libraries under --work, then
  unpack  random blocks of every format, extreme, infinite and NaN scales among them:
          bit for bit what the gguf package's quants.py makes of them (a NaN equals a NaN);
  pack    rows of many kinds, with and without an importance: the sum of importance times
          squared error is no larger than after ggml_quantize_chunk, row by row.
"""
import argparse
import ctypes
import glob
import os
import subprocess
import sys
import warnings

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-fPIC",
         "-shared"]


def rows():
    """(name, values a block, bytes a block, GGUF id, packs) of dtype.def."""
    with open("ref/dtype/dtype.def") as f:
        for line in f:
            if line.startswith("G4_DTYPE("):
                _, name, block, size, gguf, pack = (p.strip(" ()\n") for p in
                                                    line[len("G4_DTYPE"):].split(","))
                yield name, int(block), int(size), int(gguf), pack != "NULL"


def build_ours(work):
    out = os.path.join(work, "formats.so")
    subprocess.run(["cc", *FLAGS, "-I.", *sorted(glob.glob("ref/dtype/*.c")), "-o", out],
                   check=True)
    return ctypes.CDLL(out)


def pointer(a):
    return a.ctypes.data_as(ctypes.c_void_p)


def unpack(lib, name, packed, count):
    y = np.empty(count, np.float32)
    getattr(lib, f"g4_unpack_{name}")(pointer(y), pointer(packed), ctypes.c_int64(count))
    return y


def same(a, b):
    """Bit for bit, but a NaN equals a NaN."""
    return (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))


# Bytes of a block that are f16 scales: any bits there give subnormal, infinite, NaN ones.
def random_blocks(rng, size, count):
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    ends = blocks[: count // 4]     # scales stand at the block's ends: extremes there
    kinds = np.array([[0, 0], [1, 0], [255, 3], [0, 4], [255, 123], [0, 124], [1, 124], [0, 126],
                      [0, 252], [0, 128], [255, 251], [1, 252]], np.uint8)
    for at in (0, 2, size - 4, size - 2):
        if 0 <= at <= size - 2:
            pick = rng.integers(0, 2, len(ends)).astype(bool)
            ends[pick, at:at + 2] = kinds[rng.integers(0, len(kinds), pick.sum())]
    return blocks


def check_unpack(lib, rng, count):
    bad = 0
    for name, block, size, gguf, _ in rows():
        kind = GGMLQuantizationType(gguf)
        if kind.name.lower() != name or GGML_QUANT_SIZES[kind] != (block, size):
            print(f"{name}: the gguf package has {kind.name} {GGML_QUANT_SIZES[kind]}")
            bad += 1
            continue
        packed = random_blocks(rng, size, max(count, 16384 // block))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # infinity * 0 and the like
            want = dequantize(packed, kind).ravel()
        got = unpack(lib, name, packed, want.size)
        wrong = np.flatnonzero(~same(got, want))
        if wrong.size:
            i = wrong[0]
            print(f"{name}: {wrong.size} of {want.size} values differ, first {i}: "
                  f"{got[i]!r}, gguf has {want[i]!r}")
            bad += 1
        else:
            print(f"{name}: {want.size} values, {int(np.isnan(want).sum())} NaN, equal bit for bit")
    return bad


# ---------------------------------------------------------------- packing

# What ggml.c needs of the rest of ggml, and never calls here.
STUBS = """#include <stdlib.h>
void ggml_critical_section_start(void) {}
void ggml_critical_section_end(void) {}
int ggml_backend_buffer_get_usage(void *b) { (void)b; abort(); }
void ggml_backend_tensor_memset(void *t, unsigned char v, size_t o, size_t s)
{ (void)t; (void)v; (void)o; (void)s; abort(); }
void ggml_backend_tensor_set(void *t, const void *d, size_t o, size_t s)
{ (void)t; (void)d; (void)o; (void)s; abort(); }
"""


def build_ggml(source, work):
    out = os.path.join(work, "ggml.so")
    if not os.path.exists(out):
        ggml = os.path.join(source, "vendor/llama.cpp/ggml")
        with open(os.path.join(work, "stubs.c"), "w") as f:
            f.write(STUBS)
        with open(os.path.join(work, "ggml-version.h"), "w") as f:
            f.write('#define GGML_VERSION "0"\n#define GGML_COMMIT "0"\n')
        subprocess.run(["cc", "-D_GNU_SOURCE", "-DNDEBUG", "-O3", "-march=native", "-fPIC", "-shared",
                        f"-I{ggml}/include", f"-I{ggml}/src", f"-I{work}",
                        f"{ggml}/src/ggml-quants.c", f"{ggml}/src/ggml.c",
                        os.path.join(work, "stubs.c"), "-lm", "-lpthread", "-o", out], check=True)
    lib = ctypes.CDLL(out)
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    return lib


def pack_ours(lib, name, size, x, weight):
    out = np.zeros(size, np.uint8)
    getattr(lib, f"g4_pack_{name}")(pointer(out), pointer(x),
                                    pointer(weight) if weight is not None else None,
                                    ctypes.c_int64(x.size))
    return out


def pack_ggml(lib, gguf, size, x, weight):
    out = np.zeros(size, np.uint8)
    lib.ggml_quantize_chunk(ctypes.c_int(gguf), pointer(x), pointer(out), ctypes.c_int64(0),
                            ctypes.c_int64(1), ctypes.c_int64(x.size),
                            pointer(weight) if weight is not None else None)
    return out


def kinds_of_rows(rng, n):
    g = lambda s=1.0: (rng.standard_normal(n) * s).astype(np.float32)  # noqa: E731
    yield "gaussian", g(0.02)
    yield "heavy", (rng.standard_t(3, n) * 0.02).astype(np.float32)
    yield "laplace", rng.laplace(0, 0.02, n).astype(np.float32)
    yield "uniform", rng.uniform(-0.1, 0.1, n).astype(np.float32)
    yield "outliers", np.where(rng.random(n) < 0.01, 50, 1).astype(np.float32) * g(0.02)
    yield "sparse", np.where(rng.random(n) < 0.05, g(0.1), 0).astype(np.float32)
    yield "ternary", (rng.integers(-1, 2, n) * np.float32(0.037)).astype(np.float32)
    yield "positive", np.abs(g(0.02))
    yield "offset", (g(0.02) + np.float32(0.1)).astype(np.float32)
    yield "minus", (g(0.02) - np.float32(0.1)).astype(np.float32)
    yield "far", (g(0.01) + np.float32(100)).astype(np.float32)
    yield "constant", np.full(n, 0.123, np.float32)
    yield "negative", np.full(n, -0.777, np.float32)
    yield "tiny", g(1e-6)
    yield "tinier", g(1e-9)
    yield "huge", g(1e4)
    yield "blocks", g(0.02) * np.repeat(2.0 ** rng.integers(-6, 7, n // 32), 32).astype(np.float32)
    yield "bf16", (g(0.02).view(np.uint32) & 0xffff0000).view(np.float32)


def error(x, y, weight):
    with np.errstate(over="ignore", invalid="ignore"):
        e = (x.astype(np.float64) - y) ** 2
        return float((e * weight if weight is not None else e).sum())


def check_pack(ours, ggml, rng, columns, times, table):
    """table: print the mean ratio of every kind instead of the worst alone."""
    bad = 0
    for name, block, size, gguf, packs in rows():
        if not packs or name == "f32":
            continue
        worst, ratios = (0.0, ""), {}
        for turn in range(times):
            for kind, x in kinds_of_rows(rng, columns):
                for how in ("", "+importance", "+zeros"):
                    weight = None
                    if how:
                        weight = (rng.chisquare(1, columns) + 1e-3).astype(np.float32)
                    if how == "+zeros":
                        weight[rng.random(columns) < 0.5] = 0
                    row = columns // block * size
                    packed = pack_ours(ours, name, row, x, weight)
                    e = error(x, unpack(ours, name, packed, columns), weight)
                    other = pack_ggml(ggml, gguf, row, x, weight)
                    f = error(x, unpack(ours, name, other, columns), weight)
                    # A scale is stored with a relative error of up to 2^-12: below that both
                    # are right, and who is nearer is luck.
                    rounding = 2.0 ** -24 * error(x, np.zeros_like(x), weight)
                    ratio = 0.0 if e <= rounding else e / f if f > 0 else np.inf
                    ratio = ratio if e == e else np.inf if np.isfinite(f) else 1.0
                    ratios.setdefault(kind + how, []).append(ratio)
                    if ratio > worst[0]:
                        worst = (ratio, kind + how)
        held = worst[0] <= 1
        bad += not held
        mean = np.exp(np.mean([np.log(max(r, 1e-9)) for r in ratios["gaussian"]]))
        more = np.exp(np.mean([np.log(max(r, 1e-9)) for r in ratios["gaussian+importance"]]))
        print(f"{name}: {'no' if held else 'A LARGER'} error {'larger ' if held else ''}than "
              f"ggml's; worst row {worst[0]:.4f} of it ({worst[1]}), gaussian {mean:.4f}, "
              f"with importance {more:.4f}")
        if table:
            print("   ", ", ".join(f"{k} {max(v):.3f}" for k, v in ratios.items()))
    return bad


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--source", required=True)
    ap.add_argument("--work", required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--blocks", type=int, default=4000)
    ap.add_argument("--columns", type=int, default=3840)
    ap.add_argument("--times", type=int, default=3, help="rows of each kind")
    ap.add_argument("--table", action="store_true")
    a = ap.parse_args()
    os.makedirs(a.work, exist_ok=True)
    rng = np.random.default_rng(a.seed)
    ours = build_ours(a.work)
    bad = check_unpack(ours, rng, a.blocks)
    larger = check_pack(ours, build_ggml(a.source, a.work), rng, a.columns, a.times, a.table)
    print(f"formats: {bad} unpack otherwise, {larger} pack with a larger error")
    sys.exit(bad + larger > 0)


if __name__ == "__main__":
    main()
