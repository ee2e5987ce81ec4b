#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Media input against Transformers and Pillow.

  check_media.py --program build/gemma4 --model DIR [--cases 30] [--seed 1]
      random prompts with random pictures (every PNG mode), clips (WAV of any
      width, rate and channel count), frame folders and video files (APNG) go
      through `gemma4 dump` and through Transformers' own processor; ids, types,
      pixels, positions, audio frames must be equal bit for bit.  Clips of other
      rates than 16 kHz: mean of the channels, then soxr's Python package, whose
      libsoxr is another build than ours: 2^-20 of the peak (the recipe's 20 bits).

Versions: golden/requirements.txt.  Pictures by themselves: check_image.py.
"""
import argparse
import os
import struct
import subprocess
import sys
import tempfile
import warnings

import hf_setup  # noqa: F401  (before torchvision)
import numpy as np
import soxr
import torch
from PIL import Image
from image_files import random_png
from transformers import AutoProcessor
from transformers.video_utils import VideoMetadata

warnings.simplefilter("ignore")


def make_wav(rng, samples, rate):
    """Bytes of a WAV of [n][channels] samples and the float32 values in it."""
    bits = int(rng.choice([8, 16, 24, 32, -32, -64]))
    if bits < 0:
        tag, body = 3, samples.astype(f"<f{-bits // 8}").tobytes()
        bits, values = -bits, samples
    else:
        scale = 1 << (bits - 1)
        q = np.clip(np.round(samples.astype(np.float64) * scale), -scale, scale - 1)
        tag, values = 1, (q / scale).astype(np.float32)
        if bits == 8:   # unsigned
            body = (q + 128).astype(np.uint8).tobytes()
        else:
            body = b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in q.ravel())
    frame = bits // 8 * samples.shape[1]
    fmt = struct.pack("<HHIIHH", tag, samples.shape[1], rate, rate * frame, frame, bits)
    data = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", len(body)) + body
    data += b"\0" * (len(body) & 1)
    return b"RIFF" + struct.pack("<I", len(data)) + data, values


# ---------------------------------------------------------------- the vectors

# ------------------------------------------------------------- random prompts

WORDS = ("Look", " at", "  this\n", "é ß", "<|turn>user\n", "<turn|>\n", "a b c", " 00:01 ", "\t",
         " ", "", "end")


class Case:
    """One request: files in a folder, the command line's and the processor's view of it."""

    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.options, self.images, self.clips, self.videos, self.metadata = [], [], [], [], []
        self.near = 0   # 1: resampled clips hold within the bound, not bit for bit
        self.peak = 0   # of the clips that are resampled
        kinds = [self.image] * int(rng.integers(4)) + [self.clip] * int(rng.integers(3))
        kinds += [rng.choice([self.video, self.video_file])] * int(rng.integers(2))
        order = rng.permutation(len(kinds))
        marks = [kinds[i](n) for n, i in enumerate(order)]
        rng.shuffle(marks)
        self.text = "".join(rng.choice(WORDS) + rng.choice(WORDS) + m for m in marks)
        self.text += rng.choice(WORDS) + "."

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def image(self, n):
        width, height = (int(v) for v in self.rng.integers(1, 500, 2))
        path = self.write(f"{n}.png", random_png(self.rng, width, height))
        self.images.append(Image.open(path))
        self.options += ["--image", path]
        return "<|image|>"

    def clip(self, n):
        rate = int(self.rng.choice([16000] * 4 + [8000, 11025, 22050, 24000, 44100, 48000, 96000,
                                                  192000, 12345, 655350, 7]))
        count, channels = int(self.rng.integers(1, 20000)), int(self.rng.choice([1, 1, 2, 3, 6]))
        if rate < 1000:   # stays below the cap
            count = min(count, 25 * rate)
        samples = (self.rng.standard_normal((count, channels)) * 0.2).astype(np.float32)
        data, values = make_wav(self.rng, samples, rate)
        mono = np.mean(values.T, axis=0) if channels > 1 else values[:, 0]
        if rate != 16000:
            self.peak = max(self.peak, float(np.abs(mono).max()))
            mono = soxr.resample(mono, rate, 16000, "HQ")
        self.clips.append(mono)
        self.options += ["--audio", self.write(f"{n}.wav", data)]
        return "<|audio|>"

    def video_file(self, n):
        """A lossless file, so that only container, sampling and times are tried."""
        count, width, height = (int(v) for v in self.rng.integers((2, 1, 1), (5, 200, 200)))
        frames = self.rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        path = os.path.join(self.folder, f"{n}.apng")
        pictures = [Image.fromarray(frame) for frame in frames]
        pictures[0].save(path, format="PNG", save_all=True, append_images=pictures[1:],
                         duration=1000)
        return self.add_video(path, frames, 1)

    def video(self, n):
        count, width, height = (int(v) for v in self.rng.integers((1, 1, 1), (5, 200, 200)))
        folder = os.path.join(self.folder, str(n))
        os.mkdir(folder)
        frames = self.rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        for i, frame in enumerate(frames):
            Image.fromarray(frame).save(os.path.join(folder, f"{i:03}.png"))
        fps = float(self.rng.choice([1, 2, 0.013]))
        if fps != 1:
            self.write(f"{n}/times.txt", "".join(f"{i / fps!r}\n" for i in range(count)).encode())
        return self.add_video(folder, frames, fps)

    def add_video(self, path, frames, fps):
        self.videos.append(torch.from_numpy(frames).permute(0, 3, 1, 2))
        self.metadata.append(VideoMetadata(total_num_frames=len(frames), fps=fps,
                                           frames_indices=list(range(len(frames)))))
        self.options += ["--video", path]
        return "<|video|>"

    def expected(self, processor):
        media = {}
        if self.images:
            media["images"] = [self.images]
        if self.clips:
            media["audio"] = self.clips
        if self.videos:
            media["videos"] = self.videos
            media["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": self.metadata}
        return processor(text=[self.text], return_tensors="np", **media)


def compare(case, result, dump):
    import h5py
    wrong = []
    with h5py.File(dump) as f:
        for name in ("input_ids", "mm_token_type_ids", "pixel_values", "image_position_ids",
                     "pixel_values_videos", "video_position_ids", "num_frames_per_video",
                     "input_features", "input_features_mask"):
            ours = f["inputs"].get(name)
            if name not in result:
                if ours is not None and ours.size:
                    wrong.append(name + " (extra)")
                continue
            want = np.asarray(result[name]).ravel()
            got = None if ours is None else ours[...].ravel()
            if got is not None and np.array_equal(got, want):
                continue
            if got is None or got.shape != want.shape or name != "input_features":
                wrong.append(name)
                continue
            far = float(np.abs(got - want).max())
            if not far <= case.peak * 2.0 ** -20:
                wrong.append(f"{name} by {far:g}")
            else:
                case.near += 1
    return wrong


def run_cases(args):
    processor = AutoProcessor.from_pretrained(args.model)
    # Its class default is true where the file does not say; see ref/input/processor.h.
    processor.video_processor.do_normalize = False
    failed = near = 0
    for n in range(args.cases):
        with tempfile.TemporaryDirectory() as folder:
            case = Case(np.random.default_rng((args.seed, n)), folder)
            dump = os.path.join(folder, "out.h5")
            command = [args.program, "dump", "--model", args.model, "--prompt", case.text,
                       "--detail", "output", "--out", dump] + case.options
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                wrong = [done.stderr.strip()]
            else:
                wrong = compare(case, case.expected(processor), dump)
            near += case.near
            if wrong:
                failed += 1
                print(f"case {n}: {', '.join(wrong)}: {case.text!r} {case.options}")
    print(f"check_media: {args.cases} prompts, {failed} differ, {near} with resampled clips that are"
          f" not bit-equal (seed {args.seed})")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="build/gemma4")
    parser.add_argument("--model", required=True)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    return run_cases(args)


if __name__ == "__main__":
    sys.exit(main())
