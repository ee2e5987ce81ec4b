# SPDX-License-Identifier: Apache-2.0
"""Import this before transformers: makes torchvision importable beside a CPU-only torch.

Gemma 4's image classes want torchvision, which has no CPU build for this torch on the package
index.  The CUDA build, installed with --no-deps, works for resizing once the two operators that
its missing C++ library would have defined exist (nothing here ever calls them)."""
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")          # every file is local; nothing is fetched
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402

_missing = torch.library.Library("torchvision", "FRAGMENT")
for _op in ("nms", "qnms"):
    try:
        getattr(torch.ops.torchvision, _op)
    except AttributeError:
        _missing.define(f"{_op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402,F401

WANT = {"torch": "2.13.0", "transformers": "5.20.2"}


def versions():
    """'transformers 5.20.2, torch 2.13.0+cpu', and a complaint when they are not the pinned
    ones."""
    import transformers
    have = {"torch": torch.__version__, "transformers": transformers.__version__}
    for name, want in WANT.items():
        if have[name].split("+")[0] != want:
            print(f"warning: {name} {have[name]}, pinned is {want}: see golden/README.md")
    return f"transformers {have['transformers']}, torch {have['torch']}"
