# SPDX-License-Identifier: Apache-2.0
"""Golden files in and out; README.md has the format."""
import os

import h5py
import numpy as np
import torch

INPUT_TYPES = {"input_ids": np.int32, "position_ids": np.int32, "mm_token_type_ids": np.int8,
               "image_position_ids": np.int32, "video_position_ids": np.int32,
               "num_frames_per_video": np.int32, "input_features_mask": np.uint8,
               "pixel_values": np.float32, "pixel_values_videos": np.float32,
               "input_features": np.float32}
UNBATCHED = ("input_ids", "position_ids", "mm_token_type_ids")
LOGITS_CHUNK = (8, 16384)   # rows, columns: logits come in blocks of columns and are read by rows


def packed(shape):
    return {} if int(np.prod(shape)) < 64 else dict(compression="gzip", compression_opts=9,
                                                    shuffle=True)


class Writer:
    """A golden while it is made.  It has its name when it is whole, and not before."""

    def __init__(self, path, dtype, leave_out=()):
        """leave_out: beginnings of the names of activations that are not kept."""
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        self.leave_out = tuple(leave_out)
        self.path, self.dtype, self.part, self.kept = path, dtype, path + ".part", 0
        self.f = h5py.File(self.part, "w")

    def attrs(self, values):
        for k, v in values.items():
            self.f.attrs[k] = v

    def put(self, path, value):
        a = value.detach().numpy() if torch.is_tensor(value) else np.asarray(value)
        self.f.create_dataset(path, data=a, **packed(a.shape))

    def inputs(self, inputs, extra):
        for name, t in inputs.items():
            a = t.numpy().astype(INPUT_TYPES[name])
            self.put(f"inputs/{name}", a[0] if name in UNBATCHED else a)
        for name, v in extra.items():
            self.put(f"inputs/{name}", v)

    def check(self, name, t):
        if not torch.isfinite(t).all():
            raise SystemExit(f"{self.path}: activations/{name} is not finite")
        assert t.dtype == self.dtype, (name, t.dtype)

    def activations(self, data):
        for name, t in data.items():
            self.check(name, t)
            if name.startswith(self.leave_out):
                continue
            self.put(f"activations/{name}", t)
            self.kept += 1

    def columns(self, name, t, at, width):
        """Columns at.. of a [T][width] activation too large to be held whole."""
        path = f"activations/{name}"
        self.check(name, t)
        if name.startswith(self.leave_out):
            return
        if path not in self.f:
            shape = (len(t), width)
            chunks = tuple(min(a, b) for a, b in zip(shape, LOGITS_CHUNK))
            more = packed(shape)
            self.f.create_dataset(path, shape, t.numpy().dtype, **more,
                                  **({"chunks": chunks} if more else {}))
            self.kept += 1
        self.f[path][:, at:at + t.shape[1]] = t.numpy()

    def masks(self, masks):
        for name, m in masks.items():
            self.put(f"activations/masks/{name}", m.numpy().astype(np.uint8))

    def __enter__(self):
        return self

    def __exit__(self, failed, *exc):
        self.f.close()
        if failed:
            os.unlink(self.part)
        else:
            os.replace(self.part, self.path)


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
