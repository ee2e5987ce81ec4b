#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the projector file that `gemma4 quantize --mmproj` writes against llama.cpp's own media
code (libmtmd): it loads it beside our model's GGUF, and makes of a picture and of a clip the
embeddings that we make: in F32 within float32's own rounding, by each token's relative L2; what
the other formats cost is printed.

The picture takes whole patches and as many tokens as the checkpoint allows, so that neither
program resizes it; the clip takes whole frames.  Needs llama-cpp-python with libmtmd
(MTMD_CPP_LIB=<its folder>, where LLAMA_CPP_LIB_PATH names another libllama.so than the package's)."""
import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import wave

import h5py
import numpy as np
from PIL import Image

import from_llamacpp as other

RATE = 16000
ULP = 2.0 ** -24
FRAMES = 40


class Media:
    """A model and its projector in llama.cpp."""

    def __init__(self, model, projector, tokens):
        import llama_cpp.mtmd_cpp as lib
        self.lib, self.model = lib, other.Model(model)
        lib.mtmd_log_set(self.model.lib.g4_log, None)
        p = lib.mtmd_context_params_default()
        p.use_gpu, p.warmup, p.n_threads, p.flash_attn_type = False, False, 1, 0
        p.image_min_tokens = p.image_max_tokens = tokens
        self.ctx = lib.mtmd_init_from_file(os.fsencode(projector), self.model.model, p)
        if not self.ctx:
            raise SystemExit(f"{projector}: llama.cpp cannot load it")

    def close(self):
        self.lib.mtmd_free(self.ctx)
        self.model.close()

    def embed(self, bitmap, columns):
        """Embeddings of the one media chunk of a prompt that is the medium alone."""
        lib, marker = self.lib, self.lib.mtmd_default_marker()
        chunks = lib.mtmd_input_chunks_init()
        text = lib.mtmd_input_text(marker, len(marker), True, True)
        bitmaps = (lib.mtmd_bitmap_p_ctypes * 1)(bitmap)
        if lib.mtmd_tokenize(self.ctx, chunks, ctypes.byref(text), bitmaps, 1):
            raise SystemExit("llama.cpp cannot tokenize the prompt")
        out = None
        for i in range(lib.mtmd_input_chunks_size(chunks)):
            chunk = lib.mtmd_input_chunks_get(chunks, i)
            if lib.mtmd_input_chunk_get_type(chunk) == 0:   # MTMD_INPUT_CHUNK_TYPE_TEXT
                continue
            if out is not None or lib.mtmd_encode_chunk(self.ctx, chunk):
                raise SystemExit("llama.cpp cannot encode the medium as one chunk")
            n = lib.mtmd_input_chunk_get_n_tokens(chunk)
            out = np.ctypeslib.as_array(lib.mtmd_get_output_embd(self.ctx), (n, columns)).copy()
        lib.mtmd_input_chunks_free(chunks)
        lib.mtmd_bitmap_free(bitmap)
        return out

    def picture(self, pixels, columns):
        data = np.ascontiguousarray(pixels).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return self.embed(self.lib.mtmd_bitmap_init(pixels.shape[1], pixels.shape[0], data),
                          columns)

    def clip(self, samples, columns):
        data = samples.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        return self.embed(self.lib.mtmd_bitmap_init_from_audio(len(samples), data), columns)


def call(*words):
    r = subprocess.run(words, capture_output=True, text=True, check=False)
    if r.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-500:]}")


def ours(a, work, option, path, tap):
    """What we put in the place of the medium's tokens."""
    out = os.path.join(work, "ours.h5")
    call(a.gemma4, "dump", "--model", a.model, "--engine", "ref", "--prompt", "x", option, path,
         "--detail", "all", "--out", out)
    with h5py.File(out) as f:
        soft = f[f"activations/{tap}/soft_tokens"][()]
    return soft.reshape(-1, soft.shape[-1]).astype(np.float64)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gemma4", default="build/gemma4")
    p.add_argument("--model", default="golden/miniature")
    a = p.parse_args()
    with open(os.path.join(a.model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    with open(os.path.join(a.model, "processor_config.json"), encoding="utf-8") as f:
        tokens = json.load(f)["image_processor"]["max_soft_tokens"]
    vision, columns = config["vision_config"], config["text_config"]["hidden_size"]
    side = vision["patch_size"] * vision["pooling_kernel_size"]
    high = max(n for n in range(1, tokens) if tokens % n == 0 and n * n <= tokens)
    rng, failed = np.random.default_rng(1), 0
    pixels = rng.integers(0, 256, (high * side, tokens // high * side, 3), np.uint8)
    sound = rng.integers(-20000, 20000, FRAMES * config["audio_config"]["audio_embed_dim"], "<i2")
    with tempfile.TemporaryDirectory() as work:
        png, wav = os.path.join(work, "x.png"), os.path.join(work, "x.wav")
        Image.fromarray(pixels).save(png)
        with wave.open(wav, "wb") as f:
            f.setparams((1, 2, RATE, len(sound), "NONE", ""))
            f.writeframes(sound.tobytes())
        truth = {"picture": ours(a, work, "--image", png, "vision"),
                 "clip": ours(a, work, "--audio", wav, "audio")}
        model, projector = os.path.join(work, "m.gguf"), os.path.join(work, "p.gguf")
        call(a.gemma4, "quantize", "--model", a.model, "--type", "f32", "--out", model)
        for kind in ("f32", "bf16", "f16", "q8_0"):
            call(a.gemma4, "quantize", "--model", a.model, "--type", kind, "--mmproj", projector)
            media = Media(model, projector, tokens)
            for what, got in (("picture", media.picture(pixels, columns)),
                              ("clip", media.clip((sound / 32768).astype(np.float32), columns))):
                want = truth[what]
                if got.shape != want.shape:
                    failed += 1
                    print(f"DIFFERS  {kind} {what}: {got.shape}, here {want.shape}")
                    continue
                far = np.linalg.norm(got - want, axis=1) / np.linalg.norm(want, axis=1)
                # sums of 6912 terms of either sign, three norms behind each other
                bound = 4 * np.sqrt(3 * side * side) * ULP
                good = kind != "f32" or far.max() <= bound
                failed += not good
                print(("ok       " if good else "DIFFERS  ") + f"{kind} {what}: {len(got)} tokens, "
                      f"worst relative L2 {far.max():.1e}"
                      + (f", at most {bound:.1e}" if kind == "f32" else ""))
            media.close()
    print("agrees" if not failed else f"{failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
