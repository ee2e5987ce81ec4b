#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Are streamed goldens the ordinary ones, bit for bit?  Streams every case of cases.json that makes
no greedy text and holds datasets and attributes against the files in golden/tiny, which the
ordinary path made; exit 1 if any differs.  For float32 the output matrix is cut into blocks of 256
rows, so that the tiny vocabularies are several blocks too; in float64 a cut one differs from a
whole one by an ulp here and there (other kernels at the edges), so there it stays whole.
usage: check_stream.py [MODEL/CASE ...]"""
import os
import sys
import tempfile

import h5py

import compare_h5
import hf_stream
import make_golden


def attributes_differ(a, b):
    with h5py.File(a) as fa, h5py.File(b) as fb:
        names = sorted(set(fa.attrs) | set(fb.attrs))
        return [n for n in names if n not in fa.attrs or n not in fb.attrs
                or fa.attrs[n] != fb.attrs[n]]


def main(only):
    tiny = os.path.join(make_golden.HERE, "tiny")
    table = os.path.join(make_golden.HERE, "cases.json")
    names = [f"{model}/{name}" for model, name, row in make_golden.cases(table)
             if row["detail"] != "generate" and not row.get("generate")]
    names = [n for n in names if not only or n in only]
    if len(names) < max(1, len(only)):
        raise SystemExit("check_stream: not every case named is one that can be streamed")
    bad = 0
    with tempfile.TemporaryDirectory() as to:
        for f64, block in ((False, 256), (True, hf_stream.HEAD_BLOCK)):
            some = {n for n in names if n.endswith(".f64") == f64}
            hf_stream.HEAD_BLOCK = block
            if some:
                make_golden.make_all(make_golden.listed(some, tiny, to), True)
        for name in names:
            made, kept = (os.path.join(base, name + ".h5") for base in (to, tiny))
            wrong = attributes_differ(made, kept)
            if wrong:
                print(f"{name}: attributes differ: {', '.join(wrong)}")
            bad += bool(compare_h5.main(made, kept) or wrong)
    print(f"check_stream: {len(names)} cases, {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
