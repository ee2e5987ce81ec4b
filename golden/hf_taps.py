# SPDX-License-Identifier: Apache-2.0
"""Observes a Transformers model under the names of ref/model/taps.def.

taps.def is the one list of observable activations; this file only says, for each path, which module
of Transformers makes it.  A row that fits none of the rules is an error, so the list and the oracle
cannot drift apart unnoticed."""
import os
import re

import torch

TAPS_DEF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ref", "model",
                        "taps.def")
# Written from the model's return values, not from a module: make_golden.py.
FROM_OUTPUTS = re.compile(r"logits$|shared_kv/|mtp/")


def read_taps(path=TAPS_DEF):
    """[(id, path)] of every row."""
    with open(path, encoding="utf-8") as f:
        rows = re.findall(r'^G4_TAP\(\s*(\w+)\s*,\s*"([^"]+)"\s*\)', f.read(), re.M)
    if not rows:
        raise SystemExit(f"{path}: no G4_TAP rows")
    return rows


def wanted(path, layer, layers, detail):
    """Is this tap kept at this level of detail?  (golden-format: all, layer, output)"""
    if detail == "all":
        return True
    if path.startswith("vision/"):
        return path.endswith("soft_tokens")
    if "%L" not in path or path.endswith("%L/output"):
        return True
    return detail == "layer" and layer in (0, layers - 1)


class Taps:
    """Hooks for one forward pass; `data` maps golden paths to tensors without the batch axis."""

    def __init__(self, model, detail):
        self.model, self.detail = model, detail
        self.data, self.parts, self.handles = {}, {}, []

    def keep(self, path, tensor):
        # Cloned: the layer scales its sum in place.  Images, then frames, come in two calls.
        t = tensor.detach().clone()
        self.parts.setdefault(path, []).append(t)

    def on_output(self, module, path):
        self.handles.append(module.register_forward_hook(
            lambda m, a, out: self.keep(path, out[0] if isinstance(out, tuple) else out)))

    def on_input(self, module, path):
        def hook(m, args, kwargs):
            self.keep(path, args[0] if args else kwargs["hidden_states"])
        self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def attach(self, path, layer):
        core = self.model.model
        text = core.language_model
        if path == "embeddings":
            return self.on_input(text.layers[0], path)
        if path == "norm":
            return self.on_output(text.norm, path)
        if path == "vision/soft_tokens":
            return core.embed_vision and self.on_output(core.embed_vision.multimodal_embedder, path)
        if path == "audio/soft_tokens":
            return core.embed_audio and self.on_output(core.embed_audio, path)
        if path.startswith("vision/"):
            return core.embed_vision and self.on_output(
                core.embed_vision.get_submodule(path.split("/")[1]), path)
        if not path.startswith("layers/%L/"):
            raise SystemExit(f"{TAPS_DEF}: no rule for '{path}'")
        name = path[len("layers/%L/"):]
        full = path.replace("%L", f"{layer:02d}")
        block = text.layers[layer]
        if name == "output":
            return self.on_output(block, full)
        if name == "self_attn/context":
            return self.on_input(block.self_attn.o_proj, full)
        module = block
        for part in name.split("/"):
            if not hasattr(module, part):
                raise SystemExit(f"{TAPS_DEF}: Transformers has no module '{name}' in a layer")
            module = getattr(module, part)
        if module is not None:   # full layers have no v_proj
            self.on_output(module, full)

    def __enter__(self):
        layers = len(self.model.model.language_model.layers)
        for _, path in read_taps():
            if FROM_OUTPUTS.match(path):
                continue
            for layer in range(layers) if "%L" in path else [None]:
                if wanted(path, layer, layers, self.detail):
                    self.attach(path, layer)
        return self

    def __exit__(self, *exc):
        for h in self.handles:
            h.remove()
        for path, parts in self.parts.items():
            # Vision: [images][B][.] flattened; audio stays [clips][frames][D]; text drops the
            # batch.
            if path.startswith("vision/"):
                self.data[path] = torch.cat([p.flatten(0, 1) for p in parts])
            else:
                assert len(parts) == 1, path
                self.data[path] = parts[0] if path.startswith("audio/") else parts[0][0]
        return False
