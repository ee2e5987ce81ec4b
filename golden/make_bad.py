# SPDX-License-Identifier: Apache-2.0
"""Makes harness/check/data/golden: good.h5, a small golden with every kind of
dataset, and bad/*.h5, each with one fault.  bad/expected.txt says which
words the error must contain: "file<TAB>words".  Needs h5py and numpy.

usage: make_bad.py [FOLDER]"""
import os
import struct
import sys

import h5py
import numpy as np

OUT = sys.argv[1] if len(sys.argv) > 1 else "harness/check/data/golden"
T, D, V = 3, 4, 8
expected = []


def values(*shape, dtype=np.float32):
    n = int(np.prod(shape))
    return (np.arange(n, dtype=np.float64) / 8 - 1).reshape(shape).astype(dtype)


def write_good(path, small):
    with h5py.File(path, "w") as f:
        for k, v in dict(format="gemma4-golden", producer="make_bad.py", case="good",
                         dtype="float32", detail="all", mask="hf-helper", prompt="a b").items():
            f.attrs[k] = v
        f.attrs["format_version"] = np.int32(1)
        f.attrs["image_tokens"] = np.int32(70)
        f.attrs["learning_rate"] = 0.5           # an attribute that nobody asked for
        f["inputs/input_ids"] = np.arange(2, 2 + T, dtype=np.int32)
        f["inputs/mm_token_type_ids"] = np.zeros(T, np.int8)
        f["activations/embeddings"] = values(T, D)
        f["activations/masks/full_attention"] = np.tril(np.ones((T, T), np.uint8))
        f["activations/layers/00/output"] = values(T, D)
        f.create_dataset("activations/logits", data=values(T, V), compression="gzip",
                         shuffle=True, fletcher32=True, chunks=(2, V))
        if small:
            return
        f["activations/layers/00/self_attn/q_norm"] = values(T, 2, 2)
        f["activations/shared_kv/sliding_attention/key"] = values(2, T, 2)
        f["activations/mtp/step0/hidden"] = values(D)
        f["inputs/next_token"] = np.int32(5)
        f["inputs/drafted"] = np.array([5, 6], np.int32)
        f["inputs/unknown"] = "ignored"          # unknown names are not looked at
        f["surprise/of/yours"] = values(2)


def bad(name, words):
    """A sound file (without the deeper groups: they only add bytes) for a fault to be put in."""
    path = f"{OUT}/bad/{name}.h5"
    write_good(path, True)
    expected.append((name, words))
    return path


def fault(name, words):
    def run(change):
        with h5py.File(bad(name, words), "r+") as f:
            change(f)
    return run


def put(f, path, data, **kw):
    if path in f:
        del f[path]
    f.create_dataset(path, data=data, **kw)


def raw(f, path, dtype, shape, layout=None, chunk=None, filters=(), most=None):
    """A dataset through the low-level interface: nothing is written to it."""
    if path in f:
        del f[path]
    p = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunk:
        p.set_chunk(chunk)
    elif layout is not None:
        p.set_layout(layout)
    for add in filters:
        add(p)
    parent = f.require_group(path.rsplit("/", 1)[0])
    return h5py.h5d.create(parent.id, path.rsplit("/", 1)[1].encode(), dtype,
                           h5py.h5s.create_simple(shape, most), p)


def attributes():
    @fault("no_format", "no attribute 'format'")
    def _(f): del f.attrs["format"]
    @fault("other_format", "attribute 'format' is 'gemma3-golden'")
    def _(f): f.attrs["format"] = "gemma3-golden"
    @fault("format_number", "attribute 'format' is not a string")
    def _(f): f.attrs["format"] = np.int32(1)
    @fault("format_nul", "attribute 'format' is ''")
    def _(f): f.attrs["format"] = np.bytes_(b"\0\0")
    @fault("no_version", "no attribute 'format_version'")
    def _(f): del f.attrs["format_version"]
    @fault("version_2", "attribute 'format_version' is '2', not 1")
    def _(f): f.attrs["format_version"] = np.int32(2)
    @fault("version_string", "attribute 'format_version' is not a number")
    def _(f): f.attrs["format_version"] = "1"
    @fault("no_dtype", "no attribute 'dtype'")
    def _(f): del f.attrs["dtype"]
    @fault("other_dtype", "attribute 'dtype' is 'bfloat16'")
    def _(f): f.attrs["dtype"] = "bfloat16"
    @fault("two_dtypes", "attribute 'dtype' is 'float32|float64'")
    def _(f): f.attrs["dtype"] = "float32|float64"
    @fault("other_mask", "attribute 'mask' is '\\x1b[2Jred'")
    def _(f): f.attrs["mask"] = "\x1b[2Jred"
    @fault("many_attributes", "over 256 attributes")
    def _(f):
        for i in range(300):
            f.attrs[f"a{i}"] = np.int8(0)


def links():
    where = "activations/layers/00/output"

    @fault("external_link", f"{where}: is an external link")
    def _(f):
        del f[where]
        f[where] = h5py.ExternalLink("../good.h5", where)
    @fault("external_group", "activations: is an external link")
    def _(f):
        del f["activations"]
        f["activations"] = h5py.ExternalLink("../good.h5", "activations")
    @fault("soft_link", f"{where}: is a soft link")
    def _(f):
        del f[where]
        f[where] = h5py.SoftLink("/activations/embeddings")
    @fault("soft_loop", "activations/layers: is a soft link")
    def _(f):
        del f["activations/layers"]
        f["activations/layers"] = h5py.SoftLink("/activations/layers")
    @fault("group_for_dataset", "inputs/input_ids: is not a dataset")
    def _(f):
        del f["inputs/input_ids"]
        f.create_group("inputs/input_ids")
    @fault("dataset_for_group", "activations/layers/00: cannot be looked up")
    def _(f):
        del f["activations/layers"]
        f["activations/layers"] = values(2)
    @fault("type_for_dataset", "inputs/input_ids: is not a dataset")
    def _(f):
        del f["inputs/input_ids"]
        f["inputs/input_ids"] = np.dtype("i4")


def storage():
    f32, i32 = h5py.h5t.IEEE_F32LE, h5py.h5t.STD_I32LE
    where, logits = "activations/embeddings", "activations/logits"

    @fault("external_storage", f"{where}: has external storage")
    def _(f):
        raw(f, where, f32, (T, D), filters=[lambda p: p.set_external(b"/etc/passwd", 0, T * D * 4)])
    @fault("virtual", f"{where}: is a virtual dataset")
    def _(f):
        del f[where]
        v = h5py.VirtualLayout((T, D), np.float32)
        v[:] = h5py.VirtualSource("../good.h5", where, shape=(T, D))
        f.create_virtual_dataset(where, v)
    @fault("lzf", f"{where}: has a filter other than")
    def _(f): put(f, where, values(T, D), compression="lzf")
    @fault("scaleoffset", f"{where}: has a filter other than")
    def _(f): put(f, where, values(T, D), scaleoffset=2)
    @fault("deflated_twice", f"{where}: is deflated twice")
    def _(f):
        raw(f, where, f32, (T, D), chunk=(T, D), filters=[lambda p: p.set_deflate(9)] * 2)
    @fault("never_written", f"{where}: claims 48 bytes where the file stores 0")
    def _(f): raw(f, where, f32, (T, D), layout=h5py.h5d.CONTIGUOUS)
    @fault("huge", f"{where}: claims 17592186044416 bytes")
    def _(f): raw(f, where, f32, (1 << 20, 1 << 22), chunk=(1, 1024),
                  filters=[lambda p: p.set_deflate(1)])
    @fault("huge_contiguous", f"{where}: claims 4398046511104 bytes")
    def _(f): raw(f, where, f32, (1 << 20, 1 << 20), layout=h5py.h5d.CONTIGUOUS)
    @fault("overflow", f"{where}: has a dimension of 0 or too many values")
    def _(f): raw(f, where, f32, (1 << 32, 1 << 31), chunk=(1, 1024))
    @fault("no_rows", f"{where}: has a dimension of 0")
    def _(f): put(f, where, values(0, D))
    @fault("null_space", f"{where}: has rank -1")
    def _(f): put(f, where, h5py.Empty("f4"))
    @fault("chunk_bomb", f"{where}: has chunks of over 256 MiB")
    def _(f): raw(f, where, f32, (T, D), chunk=(1 << 15, 1 << 14),
                  filters=[lambda p: p.set_deflate(1)], most=(h5py.h5s.UNLIMITED,) * 2)
    @fault("chunk_for_little", f"{where}: has chunks of 8388608 bytes for 48 bytes of values")
    def _(f): put(f, where, values(T, D), chunks=(1 << 11, 1 << 10), maxshape=(None, None),
                  compression="gzip", compression_opts=9)
    @fault("ids_huge", "inputs/input_ids: claims 4611686018427387904 bytes")
    def _(f): raw(f, "inputs/input_ids", i32, (1 << 60,), chunk=(1024,))
    path = bad("flipped", "activations/logits")     # checksum, or inflate before it
    with h5py.File(path, "r+") as f:
        chunk = f[logits].id.get_chunk_info(0)
    with open(path, "r+b") as f:
        f.seek(chunk.byte_offset + chunk.size // 2)
        byte = f.read(1)[0]
        f.seek(-1, 1)
        f.write(bytes([byte ^ 0x40]))


def types():
    ids, where = "inputs/input_ids", "activations/embeddings"

    @fault("ids_int64", f"{ids}: is not int32")
    def _(f): put(f, ids, np.arange(T, dtype=np.int64))
    @fault("ids_float", f"{ids}: is not int32")
    def _(f): put(f, ids, values(T))
    @fault("ids_string", f"{ids}: is not int32")
    def _(f): put(f, ids, np.array([b"1", b"2", b"3"]))
    @fault("ids_vlen", f"{ids}: is not int32")
    def _(f):
        del f[ids]
        d = f.create_dataset(ids, (T,), h5py.vlen_dtype(np.int32))
        d[0] = [1, 2, 3]
    @fault("ids_compound", f"{ids}: is not int32")
    def _(f): put(f, ids, np.zeros(T, np.dtype([("a", "i4"), ("b", "f4")])))
    @fault("mask_bool", "activations/masks/full_attention: is not uint8")
    def _(f): put(f, "activations/masks/full_attention", np.ones((T, T), bool))
    @fault("big_endian", f"{where}: is not float32")
    def _(f): put(f, where, values(T, D).astype(">f4"))
    @fault("float16", f"{where}: is not float32")
    def _(f): put(f, where, values(T, D).astype(np.float16))
    @fault("float64_inside", f"{where}: is not float32")
    def _(f): put(f, where, values(T, D, dtype=np.float64))
    @fault("rank_1", f"{where}: has rank 1, not 2")
    def _(f): put(f, where, values(T * D))
    @fault("rank_3", f"{ids}: has rank 3, not 1")
    def _(f): put(f, ids, np.zeros((1, 1, T), np.int32))
    @fault("rank_0", f"{ids}: has rank 0, not 1")
    def _(f): put(f, ids, np.int32(2))


def prompts():
    @fault("no_ids", "inputs/input_ids: is not in the file")
    def _(f): del f["inputs/input_ids"]
    @fault("positions_short", "position_ids: its shape does not fit")
    def _(f): put(f, "inputs/position_ids", np.arange(T - 1, dtype=np.int32))
    @fault("position_negative", "inputs/position_ids: -1 at token 1")
    def _(f): put(f, "inputs/position_ids", np.array([0, -1, 2], np.int32))
    @fault("types_long", "mm_token_type_ids: its shape does not fit")
    def _(f): put(f, "inputs/mm_token_type_ids", np.zeros(T + 1, np.int8))
    @fault("type_4", "inputs/mm_token_type_ids: 4 at token 2")
    def _(f): put(f, "inputs/mm_token_type_ids", np.array([0, 1, 4], np.int8))
    @fault("pixels_alone", "inputs/pixel_values without inputs/image_position_ids")
    def _(f): put(f, "inputs/pixel_values", values(1, 2, 12))
    @fault("pixels_other_budget", "inputs/image_position_ids: its shape does not fit")
    def _(f):
        put(f, "inputs/pixel_values", values(1, 2, 12))
        put(f, "inputs/image_position_ids", np.zeros((1, 3, 2), np.int32))
    @fault("frames_uncounted", "adds up to 3, not the 2 frames")
    def _(f):
        put(f, "inputs/pixel_values_videos", values(2, 2, 12))
        put(f, "inputs/video_position_ids", np.zeros((2, 2, 2), np.int32))
        put(f, "inputs/num_frames_per_video", np.array([1, 2], np.int32))
    @fault("frames_negative", "inputs/num_frames_per_video: -2 for video 1")
    def _(f):
        put(f, "inputs/pixel_values_videos", values(2, 2, 12))
        put(f, "inputs/video_position_ids", np.zeros((2, 2, 2), np.int32))
        put(f, "inputs/num_frames_per_video", np.array([4, -2], np.int32))
    @fault("audio_mask_short", "input_features_mask: its shape does not fit")
    def _(f):
        put(f, "inputs/input_features", values(1, 3, 5))
        put(f, "inputs/input_features_mask", np.ones((1, 2), np.uint8))
    @fault("audio_mask_2", "inputs/input_features_mask: value 2")
    def _(f):
        put(f, "inputs/input_features", values(1, 3, 5))
        put(f, "inputs/input_features_mask", np.full((1, 3), 2, np.uint8))


def containers():
    path = bad("empty", "is empty")
    good = open(path, "rb").read()
    open(path, "wb").close()

    def file(name, words, data):
        with open(bad(name, words), "wb") as f:
            f.write(data)
    file("text", "not readable as HDF5", b"this is not HDF5\n")
    file("signature_only", "not readable as HDF5", good[:8])
    file("truncated", "not readable as HDF5", good[:len(good) // 2])
    file("one_byte_short", "not readable as HDF5", good[:-1])
    # superblock version 0: the root group's symbol table entry begins at byte 56
    file("root_outside", "not readable as HDF5", good[:64] + struct.pack("<Q", 1 << 40) + good[72:])
    file("root_at_0", "not readable as HDF5", good[:64] + struct.pack("<Q", 0) + good[72:])


if __name__ == "__main__":
    os.makedirs(f"{OUT}/bad", exist_ok=True)
    # crash_*: mutants that libhdf5 1.10.8 dies of; found once, kept, any error will do
    crashers = sorted(n for n in os.listdir(f"{OUT}/bad") if n.startswith("crash_"))
    for name in set(os.listdir(f"{OUT}/bad")) - set(crashers):
        os.remove(f"{OUT}/bad/{name}")
    write_good(f"{OUT}/good.h5", False)
    for part in (attributes, links, storage, types, prompts, containers):
        part()
    expected += [(n.removesuffix(".h5"), "") for n in crashers]
    with open(f"{OUT}/bad/expected.txt", "w") as f:
        for name, words in expected:
            f.write(f"{name}\t{words}\n")
    print(len(expected), "bad files,", sum(os.path.getsize(f"{OUT}/bad/{n}.h5")
                                           for n, _ in expected), "bytes")
