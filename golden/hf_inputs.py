# SPDX-License-Identifier: Apache-2.0
"""Text and media files -> the model's inputs, through Transformers' own processor."""
import os
import struct

import hf_setup  # noqa: F401
import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor
from transformers.video_utils import VideoMetadata

PLACEHOLDER = {"image": "<|image|>", "audio": "<|audio|>", "video": "<|video|>"}
TYPE = {"image": 1, "video": 2, "audio": 3}


def read_wav(path, rate):
    """Mono PCM 16, 24 or float 32 at the model's rate -> float32 samples in [-1, 1)."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise SystemExit(f"{path}: not a WAV file")
    at, fmt, body = 12, None, None
    while at + 8 <= len(data):
        tag, size = data[at:at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if tag == b"fmt ":
            fmt = struct.unpack_from("<HHIIHH", data, at + 8)
        elif tag == b"data":
            body = data[at + 8:at + 8 + size]
        at += 8 + size + (size & 1)
    if fmt is None or body is None:
        raise SystemExit(f"{path}: no fmt or no data chunk")
    code, channels, got, _, _, bits = fmt
    if channels != 1 or got != rate:
        raise SystemExit(f"{path}: {channels} channels at {got} Hz; want mono at {rate} Hz")
    if code == 3 and bits == 32:
        return np.frombuffer(body, "<f4").astype(np.float32)
    if code == 1 and bits == 16:
        return (np.frombuffer(body, "<i2") / 32768).astype(np.float32)
    if code == 1 and bits == 24:
        b = np.frombuffer(body, np.uint8).reshape(-1, 3).astype(np.int32)
        return (((b[:, 0] << 8 | b[:, 1] << 16 | b[:, 2] << 24) >> 8) / 8388608).astype(np.float32)
    raise SystemExit(f"{path}: WAV format {code} with {bits} bits is not read here")


def read_video(path):
    """A folder of pictures, in name order, is a video sampled at one frame a second."""
    names = [path]
    if os.path.isdir(path):
        names = sorted(os.path.join(path, n) for n in os.listdir(path) if n.endswith(".png"))
    if not names:
        raise SystemExit(f"{path}: no .png frames")
    return [Image.open(n).convert("RGB") for n in names]


def build(folder, prompt, media, image_tokens=None, last_position=None):
    """media: [(kind, path)] in order.  Returns (inputs for the model, attributes)."""
    proc = AutoProcessor.from_pretrained(folder)
    bos = proc.tokenizer.bos_token
    text = prompt.removeprefix(bos)
    left = {kind: prompt.count(mark) for kind, mark in PLACEHOLDER.items()}
    bare, placed = [], []
    for kind, path in media:   # media beyond their kind's placeholders come before the text
        left[kind] -= 1
        (bare if left[kind] < 0 else placed).append((kind, path))
    for kind, n in left.items():
        if n > 0:
            raise SystemExit(f"prompt: more {PLACEHOLDER[kind]} than --{kind} files")
    text = "".join(PLACEHOLDER[kind] for kind, _ in bare) + text
    media = bare + placed   # the order in which they stand in the text
    # <bos> once, always: by the tokenizer's own post-processor, else by us (the shipped one adds
    # none).
    if proc.tokenizer("a").input_ids[0] != proc.tokenizer.bos_token_id:
        text = bos + text
    kw = {}
    images = [Image.open(p).convert("RGB") for k, p in media if k == "image"]
    if images:
        kw["images"] = images
        if image_tokens:
            kw["images_kwargs"] = {"max_soft_tokens": image_tokens}
    rate = proc.feature_extractor.sampling_rate
    limit = proc.audio_seq_length * proc.feature_extractor.audio_samples_per_token
    audio = [read_wav(p, rate)[:limit] for k, p in media if k == "audio"]
    if audio:
        kw["audio"] = audio
    videos = [read_video(p) for k, p in media if k == "video"]
    if videos:
        kw["videos"] = videos
        kw["videos_kwargs"] = {
            "do_sample_frames": False,
            "video_metadata": [VideoMetadata(total_num_frames=len(v), fps=1.0,
                                             frames_indices=list(range(len(v)))) for v in videos]}
    got = proc(text=text, return_tensors="pt", **kw)
    n = got["input_ids"].shape[1]
    first = 0 if last_position is None else last_position - n + 1
    types = torch.zeros(n, dtype=torch.long)
    for kind, token in PLACEHOLDER.items():
        types[got["input_ids"][0] == proc.tokenizer.convert_tokens_to_ids(token)] = TYPE[kind]
    if "mm_token_type_ids" in got and not torch.equal(types, got["mm_token_type_ids"][0].long()):
        raise SystemExit("mm_token_type_ids: the processor's differ from the placeholders'")
    out = {"input_ids": got["input_ids"], "position_ids": torch.arange(first, first + n)[None],
           "mm_token_type_ids": types[None]}
    for name in ("pixel_values", "image_position_ids", "pixel_values_videos", "video_position_ids",
                 "num_frames_per_video", "input_features", "input_features_mask"):
        if name in got:
            out[name] = torch.as_tensor(got[name])
    budget = image_tokens or proc.image_processor.max_soft_tokens
    return out, {"prompt": prompt, "image_tokens": np.int32(budget)}
