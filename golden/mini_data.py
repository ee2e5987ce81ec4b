# SPDX-License-Identifier: Apache-2.0
"""Samples of text and media -> rows of token ids, several samples to a row, with their masks.

Every batch of a shape has the same size, so the model is compiled once for it; the samples of a row
do not see each other, and each counts its positions from zero."""
import mini_drill
import mini_media
import mini_text
import numpy as np
import torch

MEDIA_WEIGHT = mini_text.ANSWER   # of an answer about a picture or a sound
MARK = {"image": ("<|image>", "<|image|>", "<image|>", 1),
        "audio": ("<|audio>", "<|audio|>", "<audio|>", 3),
        "video": ("<|image>", "<|video|>", "<image|>", 2)}


class Row:
    """One encoded sample, or a row of them."""

    def __init__(self):
        self.ids, self.weights, self.types, self.pos, self.seg = [], [], [], [], []
        self.patches, self.places, self.frames, self.marks = [], [], [], []

    def __len__(self):
        return len(self.ids)

    def add(self, other):
        seg = self.seg[-1] + 1 if self.seg else 1
        self.marks += [(len(self) + a, len(self) + b, w) for a, b, w in other.marks]
        self.ids += other.ids
        self.weights += other.weights
        self.types += other.types
        self.pos += range(len(other))
        self.seg += [seg] * len(other)
        for name in ("patches", "places", "frames"):
            getattr(self, name).extend(getattr(other, name))


class Encoder:
    def __init__(self, tokenizer):
        self.tk = tokenizer   # of the tokenizers library
        self.id = tokenizer.token_to_id

    def text(self, row, parts):
        """Text is tokenized as a whole, as a request would be; a token has the weight of the part
        in which it ends."""
        text = "".join(p[1] for p in parts)
        e = self.tk.encode(text, add_special_tokens=False)
        ends = np.cumsum([len(p[1]) for p in parts])
        at = np.searchsorted(ends, [b for _, b in e.offsets])
        row.ids += e.ids
        row.weights += [parts[i][2] for i in at]
        row.types += [0] * len(e.ids)

    def soft(self, row, kind, count):
        begin, soft, end, code = MARK[kind]
        row.ids += [self.id(begin)] + [self.id(soft)] * count + [self.id(end)]
        row.types += [0] + [code] * count + [0]
        row.weights += [0.0] * (count + 2)

    def picture(self, row, kind, image):
        patches, places = mini_media.patches(image)
        self.soft(row, kind, len(patches))
        row.patches.append(patches)
        row.places.append(places)

    def encode(self, sample):
        row = Row()
        row.ids, row.weights, row.types = [self.id("<bos>")], [0.0], [0]
        texts = []
        for part in (*sample["parts"], None):
            if part is not None and part[0] == "text":
                texts.append(part)
                continue
            if texts:
                self.text(row, texts)
                texts = []
            if part is None:
                break
            if part[0] == "image":
                self.picture(row, "image", part[1])
            elif part[0] == "audio":
                frames = np.zeros(-(-len(part[1]) // 640) * 640, np.float32)
                frames[:len(part[1])] = part[1]
                frames = torch.from_numpy(frames.reshape(-1, 640))
                self.soft(row, "audio", len(frames))
                row.frames.append(frames)
            else:
                for i, (seconds, image) in enumerate(part[1]):
                    stamp = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d} "
                    self.text(row, [("text", (" " if i else "") + stamp, 0.0)])
                    self.picture(row, "video", image)
        best = max(row.weights)
        row.marks = [(0, len(row), [i for i, w in enumerate(row.weights) if w == best > 0])]
        row.pos, row.seg = list(range(len(row))), [1] * len(row)
        return row


def about_scene(rng, shown):
    """Questions about a picture that leave no doubt: (kind, question, answer)."""
    grid, objects = shown["grid"], shown["objects"]
    colors = [o[2] for o in objects]
    out = [("image_count", "How many shapes are there?", mini_media.NUMBERS[len(objects)])]
    for cell, shape, color in objects:
        place = mini_media.places(grid)[cell]
        if len(objects) == 1:
            out += [("image_color", "What color is the shape?", color),
                    ("image_shape", "What shape is it?", shape)]
            if grid != "1x1":
                out.append(("image_place", "Where is the shape?", place))
        elif colors.count(color) == 1:
            out += [("image_place", f"Where is the {color} shape?", place),
                    ("image_color", f"What color is the {place} shape?", color)]
        n = colors.count(color)
        out.append(("image_count", f"How many {color} shapes are there?", mini_media.NUMBERS[n]))
    return out


def about_notes(rng, shown):
    """Questions about a row of tones."""
    names = [mini_media.PITCHES[n] for n in shown["notes"]]
    out = [("audio_pitch", "How many tones are there?", mini_media.NUMBERS[len(names)])]
    if len(names) < 3:
        out.append(("audio_pitch", "Name the tones.", " ".join(names)))
    for i, name in enumerate(names):
        out.append(("audio_pitch", f"What is the {mini_media.ORDINALS[i]} tone?", name))
    return out


def about_words(rng, shown):
    """Questions about two spoken words."""
    words = shown["words"]
    return [("audio_words", "What is said?", " ".join(words)),
            *(("audio_words", f"What is the {mini_media.ORDINALS[i]} word?", w)
              for i, w in enumerate(words))]


def more_questions(rng, recipe, most=3):
    """Further questions about the same picture or sound, for training: soft tokens are dear, and
    each may answer more than one.  All are of the training split."""
    shown = recipe["shown"]
    if "objects" in shown:
        asked = about_scene(rng, shown)
    elif "notes" in shown:
        asked = about_notes(rng, shown)
    elif "words" in shown:
        asked = about_words(rng, shown)
    else:
        return []
    parts, before = [], {recipe["question"]}
    for i in rng.permutation(len(asked)):
        kind, question, answer = asked[i]
        what = sorted((k, v) for k, v in shown.items() if k != "frames")
        if question in before or mini_media.split_of(kind, what, question) != "train":
            continue
        before.add(question)
        parts += [("text", f"\n\n{question}\nAnswer:", 0.0),
                  ("text", " " + answer, MEDIA_WEIGHT)]
        if len(parts) == 2 * most:
            break
    return parts


def make_sample(rng, kind, split, shots=None):
    """A sample of either generator; answers about media get their weight and an end."""
    if kind in mini_drill.KINDS:
        return mini_drill.make(rng, kind)
    if kind not in mini_media.KINDS:
        return mini_text.make(rng, kind, split, shots)
    sample = mini_media.make(rng, kind, split)
    parts = sample["parts"]
    more = more_questions(rng, sample["recipe"]) if split == "train" and rng.random() < 0.7 else []
    sample["parts"] = [*parts[:-1], ("text", parts[-1][1], MEDIA_WEIGHT), *more,
                       ("text", "<eos>", 0.0 if more else 0.5)]
    return sample


def fill(draw, rows, width, misses=4):
    """rows x width tokens of samples, first fit; stops when several in a row fit nowhere."""
    out, missed = [Row() for _ in range(rows)], 0
    while missed < misses:
        sample = draw()
        row = next((r for r in out if len(r) + len(sample) <= width), None)
        if row is None:
            missed += 1
        else:
            row.add(sample)
    return out


def collate(rows, width, window):
    """Tensors of a batch; masks are bool [B][1][T][T], True where a row may see a column."""
    def grid(name, dtype, fill_with=0):
        out = torch.full((len(rows), width), fill_with, dtype=dtype)
        for i, r in enumerate(rows):
            out[i, :len(r)] = torch.tensor(getattr(r, name), dtype=dtype)
        return out
    b = {"ids": grid("ids", torch.long), "pos": grid("pos", torch.long),
         "types": grid("types", torch.long), "weights": grid("weights", torch.float32)}
    seg = grid("seg", torch.long)
    vision = (b["types"] == 1) | (b["types"] == 2)
    begins = vision & ~torch.roll(vision, 1, 1)
    block = torch.where(vision, begins.cumsum(1), 0)
    at = torch.arange(width)
    q, k = at[:, None], at[None]
    same = seg[:, :, None] == seg[:, None]
    picture = (block[:, :, None] == block[:, None]) & vision[:, :, None]
    near = (k > q - window) & (k < q + window)
    b["full"] = (same & (k <= q))[:, None]
    b["sliding"] = (same & near & ((k <= q) | picture))[:, None]
    for name, key in (("patches", "patches"), ("places", "places"), ("frames", "frames")):
        items = [x for r in rows for x in getattr(r, key)]
        b[name] = torch.cat(items) if items else None
    return b
