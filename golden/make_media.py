#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the media that the goldens are made of: small synthetic pictures and sounds for the tiny
models, and with --demo the demonstration's photograph and spoken sentence (see
notebooks_data/README.md for source and licence; wants matplotlib and the program espeak-ng)."""
import argparse
import os
import struct
import subprocess

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
SENTENCE = "Look at the picture."


def picture(width, height, seed, mode="RGB"):
    """Bands of colour, a disc and a bar: every patch differs, and the goldens still compress."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    g = np.random.Generator(np.random.Philox(key=seed))
    a = g.uniform(0.5, 3.0, (3, 2)) * np.pi
    rgb = [127.5 + 110 * np.sin(a[c, 0] * x / width + a[c, 1] * y / height + c) for c in range(3)]
    rgb = [np.floor(c / 36) * 36 + 18 for c in rgb]
    r = np.hypot(x - 0.6 * width, y - 0.4 * height)
    for c in range(3):
        rgb[c] = np.where(r < 0.2 * min(width, height), 255 - rgb[c], rgb[c])
        rgb[c] = np.where(np.abs(x - y) < 3, 40.0 * (c + 1), rgb[c])
    img = Image.fromarray(np.clip(np.rint(np.stack(rgb, -1)), 0, 255).astype(np.uint8), "RGB")
    return img.convert(mode)


def bands(width, height, seed):
    """A colour for every 32 pixels, a bar in it, the lower half darker.  Where the resize keeps the
    width, every patch differs and the pixels take hardly any room in a golden."""
    g = np.random.Generator(np.random.Philox(key=seed))
    colours, at = g.integers(64, 256, (width // 32, 3)), g.integers(0, 32, width // 32)
    rows = np.repeat(colours, 32, axis=0)
    rows[np.arange(width // 32) * 32 + at] //= 2
    img = np.repeat(rows[None], height, axis=0)
    img[height // 2:] -= 40
    return Image.fromarray(np.clip(img, 0, 255).astype(np.uint8), "RGB")


def tone(samples, seed):
    """A gliding tone with a second voice and a little noise, in [-0.8, 0.8]."""
    t = np.arange(samples) / 16000
    g = np.random.Generator(np.random.Philox(key=seed))
    wave = 0.5 * np.sin(2 * np.pi * (180 + 90 * t) * t) + 0.2 * np.sin(2 * np.pi * 1370 * t + seed)
    return wave * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)) + 0.01 * g.standard_normal(samples)


def write_wav(path, samples, code):
    """code 1: PCM 16; code 3: float 32."""
    x = np.clip(samples, -1, 1 - 1 / 32768)
    body = np.rint(x * 32768).astype("<i2").tobytes() if code == 1 else x.astype("<f4").tobytes()
    size = 2 if code == 1 else 4
    with open(path, "wb") as f:
        f.write(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16,
                            code, 1,
                            16000, 16000 * size, size, 8 * size, b"data", len(body)) + body)


def tiny(root):
    """small: a strip that becomes one row of patches, a picture, a grey one, sounds, two frames.
    mini: pictures of 36 (one row), 35 (one column) and 48 patches, which is more than its window;
    videos of two frames and of one; clips around the ends of a frame."""
    pictures = {"small": {"strip.png": (352, 20, 2), "image1.png": (123, 201, 1),
                          "gray.png": (64, 50, 9)},
                "even": {"image1.png": (160, 97, 4)},
                "mini": {"image1.png": (123, 201, 1), "wide.png": (2000, 20, 3)}}
    for model, files in pictures.items():
        for name, (w, h, seed) in files.items():
            save(picture(w, h, seed, "L" if name == "gray.png" else "RGB"), root, model, name)
    turn = Image.Transpose.TRANSPOSE
    for i in range(2):
        save(picture(176, 10, 20 + i), root, "small", "video1", f"frame{i}.png")
        save(bands(35 * 32, 62, 30 + i), root, "mini", "clip", f"{i}.png")
    save(bands(35 * 32, 62, 32).transpose(turn), root, "mini", "still", "0.png")
    save(bands(36 * 32, 62, 5), root, "mini", "row.png")
    save(bands(35 * 32, 63, 6).transpose(turn), root, "mini", "column.png")
    save(bands(24 * 32, 92, 7), root, "mini", "two_rows.png")
    write_wav(os.path.join(root, "small", "audio1.wav"), tone(8111, 1), 1)
    write_wav(os.path.join(root, "small", "audio2.wav"), tone(4480, 2), 3)
    for name, samples in (("three.wav", 1281), ("two.wav", 1280), ("one.wav", 1)):   # frames
        write_wav(os.path.join(root, "mini", name), tone(samples, samples), 1)


def save(image, *path):
    path = os.path.join(*path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image.save(path, optimize=True)


def demo(folder):
    import matplotlib
    os.makedirs(folder, exist_ok=True)
    photo = Image.open(os.path.join(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg"))
    photo = photo.convert("RGB").resize((384, 450), Image.Resampling.LANCZOS)
    photo.save(os.path.join(folder, "grace_hopper.png"), optimize=True)
    raw = os.path.join(folder, "raw.wav")
    subprocess.run(["espeak-ng", "-v", "en", "-s", "150", "-w", raw, SENTENCE], check=True)
    with open(raw, "rb") as f:
        data = f.read()
    os.remove(raw)
    rate = struct.unpack_from("<I", data, 24)[0]
    at = data.index(b"data") + 8
    x = np.frombuffer(data[at:at + (len(data) - at) // 2 * 2], "<i2") / 32768
    # To 16 kHz in the frequency domain: exact for a sound that is band-limited and short.
    n = round(len(x) * 16000 / rate)
    spectrum = np.fft.rfft(x)[: n // 2 + 1]
    write_wav(os.path.join(folder, "sentence.wav"), np.fft.irfft(spectrum, n) * n / len(x), 1)


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--root", default=os.path.join(HERE, "tiny"))
    ap.add_argument("--demo", action="store_true", help="the demonstration's files only")
    a = ap.parse_args()
    if a.demo:
        demo(os.path.join(HERE, "..", "notebooks_data", "media"))
    else:
        tiny(a.root)
