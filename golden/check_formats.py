#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Number formats against the gguf package and against ggml.

  check_formats.py --source LLAMA_CPP_PYTHON_SOURCE --work DIR [--seed 1] [--blocks 4000]

Compiles ref/dtype and ggml's quantizers into two shared libraries under --work, then
  unpack  random blocks of every format, extreme, infinite and NaN scales among them:
          bit for bit what the gguf package's quants.py makes of them (a NaN equals a NaN).
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


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--source", required=True)
    ap.add_argument("--work", required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--blocks", type=int, default=4000)
    a = ap.parse_args()
    os.makedirs(a.work, exist_ok=True)
    rng = np.random.default_rng(a.seed)
    bad = check_unpack(build_ours(a.work), rng, a.blocks)
    print(f"formats: {bad} differ")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
