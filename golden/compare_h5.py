#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare_h5.py A.h5 B.h5: the datasets that differ, and by how much; exit 1 if any does."""
import sys

import h5py
import numpy as np


def datasets(f):
    out = {}
    f.visititems(lambda n, o: out.__setitem__(n, o) if isinstance(o, h5py.Dataset) else None)
    return out


def main(a, b):
    with h5py.File(a) as fa, h5py.File(b) as fb:
        da, db = datasets(fa), datasets(fb)
        only = sorted(set(da) ^ set(db))
        worst, name, differ = 0.0, "", 0
        for k in sorted(set(da) & set(db)):
            x, y = da[k][()].astype(np.float64), db[k][()].astype(np.float64)
            if x.shape != y.shape:
                print(f"{k}: shape {x.shape} against {y.shape}")
                differ += 1
                continue
            if np.array_equal(x, y):
                continue
            differ += 1
            rel = float(np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-300))
            if rel > worst:
                worst, name = rel, k
        print(f"{a}: {len(set(da) & set(db))} datasets in both, {differ} differ, worst relative L2 "
              f"{worst:.2e} {name}" + (f"; {len(only)} in one only: {only[:4]}" if only else ""))
        return 1 if differ or only else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
