#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pictures against Transformers (load_image and the image processor) and Pillow.

  check_image.py --program build/gemma4 --model DIR [--seed 1]
      pictures of 40 sizes in every PNG, JPEG and WebP mode, turned by EXIF, at
      all budgets, go through `gemma4 dump` and through Transformers: pixel values
      and positions must be equal bit for bit.  JPEG: the two libjpegs' pixels are
      compared first (pictures that keep their size), and their difference named.
  check_image.py --write harness/check/data/media
      makes the test vectors of check_image.c and check_image_formats.c again.

Versions: golden/requirements.txt.
"""
import argparse
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import hf_setup  # noqa: F401  (before torchvision)
import torch
from PIL import ExifTags, Image, features
from image_files import (DEPTHS, JPEGS, exif_cases, first_scan, format_files, make_png,
                         random_picture, save_as, upright_chroma, wavy, ycck)
from torchvision.transforms.v2 import functional as tvF
from transformers.image_utils import load_image
from transformers.models.gemma4_unified.image_processing_gemma4_unified import (
    Gemma4UnifiedImageProcessor)

warnings.simplefilter("ignore")

# ---------------------------------------------------------------- the vectors

def noise(width, height, seed):
    """check_image.c's test picture: SplitMix64's finaliser of a counter."""
    z = np.arange(width * height * 3, dtype=np.uint64) + (np.uint64(seed) << np.uint64(32))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(56)).astype(np.uint8).reshape(height, width, 3)


def digest(*arrays):
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


def load(data):
    """What Transformers makes of a file: the RGB array."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(data)
        f.flush()
        return np.asarray(load_image(f.name))


def write_vectors(folder):
    rng = np.random.default_rng(7)
    lines = []
    for color, depths in DEPTHS.items():
        for depth in depths:
            for interlaced in (0, 1):
                name = f"c{color}d{depth}i{interlaced}.png"
                data = make_png(rng, 13, 11, color, depth, interlaced, interlaced)
                with open(os.path.join(folder, name), "wb") as f:
                    f.write(data)
                rgb = load(data)
                lines.append(f"{name} {rgb.shape[1]} {rgb.shape[0]} {digest(rgb)}")
    save(folder, "png.txt", lines)
    lines = []
    sizes = ((331, 200, 480, 288), (331, 200, 331, 48), (331, 200, 96, 200), (7, 5, 48, 96),
             (1, 1, 48, 48), (1000, 3, 48, 3), (3, 2000, 3, 48), (48, 97, 96, 48),
             (5000, 1, 3360, 48), (1, 5000, 48, 3360), (255, 257, 256, 256), (640, 480, 912, 672))
    for seed, (w, h, ow, oh) in enumerate(sizes):
        image = torch.from_numpy(noise(w, h, seed)).permute(2, 0, 1)
        out = tvF.resize(image, [oh, ow], interpolation=tvF.InterpolationMode.BICUBIC,
                         antialias=True)
        lines.append(f"{w} {h} {ow} {oh} {seed} {digest(out.permute(1, 2, 0).numpy())}")
    save(folder, "resize.txt", lines)
    lines = []
    cases = ((331, 200, 70, 0), (150, 517, 140, 0), (1, 1, 280, 0), (5000, 1, 560, 0),
             (1, 5000, 1120, 0), (672, 480, 140, 1), (99, 77, 70, 2), (47, 49, 70, 1))
    for seed, (w, h, budget, normalize) in enumerate(cases):
        kwargs = {}
        if normalize:
            kwargs = {"do_normalize": True, "image_mean": [0.0, 0.25, 0.5][:3],
                      "image_std": [1.0, 0.5, 0.3]}
        if normalize == 1:
            kwargs.update(image_mean=[0.0] * 3, image_std=[1.0] * 3)
        result = Gemma4UnifiedImageProcessor(max_soft_tokens=budget, **kwargs)(
            [Image.fromarray(noise(w, h, seed))], return_tensors="np")
        sum_ = digest(result["pixel_values"].astype(np.float32),
                      result["image_position_ids"].astype(np.int32))
        lines.append(f"{w} {h} {budget} {normalize} {seed} {sum_}")
    save(folder, "patches.txt", lines)


def save(folder, name, lines):
    with open(os.path.join(folder, name), "w") as f:
        f.write("\n".join(lines) + "\n")


def exif_answer(exif, xmp):
    """Pillow's: 1 to 8, or 0 where it refuses."""
    image = Image.new("L", (1, 1))
    if exif:
        image.info["exif"] = exif
    if xmp:
        image.info["xmp"] = xmp
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, struct.error):
        return 0
    return int(value) if value in range(2, 9) else 1


def write_formats(folder):
    os.makedirs(os.path.join(folder, "formats"), exist_ok=True)
    lines = []
    for name, data in format_files():
        with open(os.path.join(folder, "formats", name), "wb") as f:
            f.write(data)
        rgb = load(data)
        lines.append(f"{name} {rgb.shape[1]} {rgb.shape[0]} {digest(rgb)}")
    save(folder, "formats.txt", lines)
    save(folder, "exif.txt", [f"{exif_answer(e, x)} {e.hex() or '-'} {x.hex() or '-'}"
                              for e, x in exif_cases()])


# --------------------------------------------------------- against Transformers

BUDGETS = (70, 140, 280, 560, 1120)
FIXED = ((1, 5000), (5000, 1), (1, 1), (1, 999), (3000, 7), (48, 48), (47, 49), (3, 2000),
         (672, 480), (1920, 1080))


class Program:
    """`gemma4 dump` on a copy of the model with room for every position."""

    def __init__(self, program, model, folder):
        from safetensors.torch import load_file, save_file
        self.program, self.model, self.folder = program, os.path.join(folder, "model"), folder
        shutil.copytree(model, self.model, ignore=shutil.ignore_patterns("assistant*"))
        path = os.path.join(self.model, "config.json")
        with open(path) as f:
            config = json.load(f)
        config["vision_config"]["mm_posemb_size"] = 1120
        with open(path, "w") as f:
            json.dump(config, f)
        path = os.path.join(self.model, "model.safetensors")
        tensors = load_file(path)
        name = next(n for n in tensors if n.endswith("vision_embedder.pos_embedding"))
        table = tensors[name]
        tensors[name] = table.repeat(-(-1120 // len(table)), 1, 1)[:1120].contiguous()
        save_file(tensors, path, metadata={"format": "pt"})

    def dump(self, paths, budget):
        """pixel_values and image_position_ids, or the program's complaint."""
        import h5py
        out = os.path.join(self.folder, "out.h5")
        command = [self.program, "dump", "--model", self.model,
                   "--prompt", "<|image|>" * len(paths), "--detail", "output",
                   "--image-tokens", str(budget), "--out", out]
        for path in paths:
            command += ["--image", path]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        with h5py.File(out) as f:
            return (f["inputs/pixel_values"][...].reshape(len(paths), budget, -1),
                    f["inputs/image_position_ids"][...].reshape(len(paths), budget, 2))


def transformers_inputs(images, budget):
    result = Gemma4UnifiedImageProcessor(max_soft_tokens=budget, do_normalize=False)(
        images, return_tensors="np")
    return result["pixel_values"], result["image_position_ids"]


def check_decoder(program, folder, seed):
    """JPEG pixels alone: 480 x 288 keeps its size at 70 soft tokens.  Returns the worst share
    among complete files; an incomplete progressive file is reported and not held against it."""
    rng = np.random.default_rng((seed, 1))
    files = {name: save_as(wavy(rng, 480, 288, mode), "JPEG", **options)
             for name, (mode, options) in JPEGS.items()}
    files["ycck"] = ycck(files["cmyk"])
    files["440"] = upright_chroma(save_as(wavy(rng, 576, 240), "JPEG", subsampling="4:2:2"))
    files["first scan only"] = first_scan(files["progressive"])
    worst = 0.0
    for name, data in files.items():
        path = os.path.join(folder, "decoder.jpg")
        with open(path, "wb") as f:
            f.write(data)
        want, _ = transformers_inputs([load_image(path)], 70)
        got, _ = program.dump([path], 70)
        apart = np.abs(np.rint(got * 255) - np.rint(want * 255))
        share = np.count_nonzero(apart) / apart.size
        if share:
            print(f"decoder: {name}: up to {apart.max():.0f}/255 apart in {share:.2%} of values")
        if name != "first scan only":
            worst = max(worst, share)
    print(f"decoder: {len(files) - 1} kinds of complete JPEG file, {worst:.2%} of values apart at"
          f" worst (Pillow's libjpeg-turbo {features.version('libjpeg_turbo')})")
    return worst


def check_sizes(program, folder, seed):
    """Four pictures of each size at once.  A JPEG file also goes in as the PNG of the pixels that
    Pillow decoded: so the resize is proved whatever the decoders do."""
    rng = np.random.default_rng((seed, 2))
    sizes = list(FIXED) + [tuple(int(v) for v in rng.integers(1, 700, 2)) for _ in range(30)]
    count = failed = named = 0
    for n, (width, height) in enumerate(sizes):
        paths, budget = [], BUDGETS[n % 5]
        for i in range(4):
            kind, data = random_picture(rng, width, height, count + i)
            paths.append(os.path.join(folder, f"{i}.{kind}"))
            with open(paths[-1], "wb") as f:
                f.write(data)
            if kind == "jpg":
                paths.append(paths[-1] + ".png")
                load_image(paths[-2]).save(paths[-1])
        want = transformers_inputs([load_image(p) for p in paths], budget)
        got = program.dump(paths, budget)
        count += 4
        for i, path in enumerate(paths):
            if all(np.array_equal(a[i], b[i]) for a, b in zip(want, got)):
                continue
            if path.endswith(".jpg") and np.array_equal(want[1][i], got[1][i]):
                named += 1
                continue
            failed += 1
            print(f"{width} x {height} at {budget}: {os.path.basename(path)} differs")
    return len(sizes), count, failed, named


def run_checks(args):
    with tempfile.TemporaryDirectory() as folder:
        program = Program(os.path.abspath(args.program), args.model, folder)
        worst = check_decoder(program, folder, args.seed)
        sizes, count, failed, named = check_sizes(program, folder, args.seed)
    print(f"check_image: {count} files of {sizes} sizes, {failed} differ, {named} JPEG files by"
          f" their decoder alone (seed {args.seed})")
    return 1 if failed or worst > 0.001 else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", metavar="FOLDER")
    parser.add_argument("--program", default="build/gemma4")
    parser.add_argument("--model")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.write:
        write_vectors(args.write)
        write_formats(args.write)
        return 0
    if not args.model:
        parser.error("--model or --write is needed")
    return run_checks(args)


if __name__ == "__main__":
    sys.exit(main())
