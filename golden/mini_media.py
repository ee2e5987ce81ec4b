# SPDX-License-Identifier: Apache-2.0
"""Pictures, sounds and videos with questions, to train and to examine the miniature.

A question is made in two steps.  `plan(rng, kind, split)` writes a recipe: plain JSON values, with
every object, word and answer in it; `render(recipe)` draws it.  So an examination is a list of
recipes, and the same recipe gives the same pixels and samples again.  `make(rng, kind, split)` is
both, as the training loop wants it:

    {"kind": str, "recipe": dict, "parts": [("image", PIL.Image) | ("audio", float32 [n], 16 kHz)
     | ("video", [(seconds, PIL.Image)]) | ("text", str, weight)]}

The media come first, then the question with weight 0, then the answer with weight 1.  The answer
is one to four words with a space before each, or in the form with options " A" to " D" below
MMLU's layout.  Nothing ends the answer here: the trainer adds its own token for that.

Train, dev, val and test never share a combination: what is shown and what is asked is hashed (but
not size, shade, phase or the order of options), and the hash says which split it belongs to.

What the model can see limits what may be asked.  A patch passes a LayerNorm over its 6,912 values
and a frame an RMSNorm over its 640 samples, so a plain patch keeps its hue but neither brightness
nor greyness, and a frame keeps its tone but not its loudness.  Backgrounds are therefore grey, and
nothing depends on dark or light, loud or soft.  The smallest budget of the image processor is 70
soft tokens and it scales every picture up to it: a picture has 35 to 70 patches, whatever its size.
"""
import hashlib
import math

import numpy as np
from PIL import Image

SPLITS = {"test": range(0, 2), "val": range(2, 3), "dev": range(3, 4), "train": range(4, 32)}
KINDS = ("image_color", "image_shape", "image_place", "image_count", "audio_order", "audio_pitch",
         "audio_words", "video_change", "video_detail", "image_audio")

COLORS = {"red": (225, 35, 35), "green": (35, 185, 45), "blue": (35, 65, 230),
          "yellow": (235, 215, 30), "purple": (175, 45, 205), "cyan": (30, 205, 215)}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
ORDINALS = ("first", "second", "third", "fourth")
EASY = ("square", "cross", "ring")   # what pictures show
GREYS = (255, 235, 200, 90, 40, 0)   # a plain grey patch is the same to the model, whichever it is

# rows x columns of cells, each with at most one object, and the names of the cells in row order
GRIDS = {
    "1x1": ((1, 1), ("middle",)),
    "1x2": ((1, 2), ("left", "right")),
    "2x1": ((2, 1), ("top", "bottom")),
    "1x3": ((1, 3), ("left", "middle", "right")),
    "3x1": ((3, 1), ("top", "middle", "bottom")),
    "2x2": ((2, 2), ("top left", "top right", "bottom left", "bottom right")),
    "2x3": ((2, 3), ("top left", "top middle", "top right",
                     "bottom left", "bottom middle", "bottom right")),
}

# Six notes, two to a name; multiples of 25 Hz, so that a note fills a frame of 40 ms evenly.
NOTES = (250, 400, 650, 1000, 1600, 2500)
PITCHES = ("low", "low", "middle", "middle", "high", "high")
# A spoken-like code: every sound is two formants (a vowel) or a band of noise (a consonant), every
# word consonant, vowel, vowel.
VOWELS = {"a": (700, 1225), "e": (450, 2000), "i": (275, 2600), "o": (500, 900), "u": (325, 650)}
HISSES = {"s": (3500, 5500), "f": (1500, 2500), "h": (400, 1000), "t": (5500, 7500)}
WORDS = {"red": "sao", "green": "fei", "blue": "hua", "yellow": "tie", "purple": "sue",
         "cyan": "fao", "one": "hoi", "two": "tau", "three": "sei", "four": "foa"}
SPOKEN_COLORS = tuple(w for w in WORDS if w in COLORS)
RATE, FRAME = 16000, 640

CHANGES = ("color", "place", "shape", "appeared", "vanished", "nothing")
SHOWN = ("color", "place", "appeared", "vanished")   # what videos show


# ---- choices ----

def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def pick_some(rng, items, n):
    return [items[i] for i in rng.permutation(len(items))[:n]]


def split_of(*combination):
    """What is shown and asked -> the one split it may be used in."""
    digest = hashlib.blake2b(repr(combination).encode(), digest_size=4).digest()
    slot = int.from_bytes(digest, "little") % 32
    return next(name for name, slots in SPLITS.items() if slot in slots)


def options(rng, answer, others):
    """Four different choices, the answer among them in a random place."""
    choices = pick_some(rng, [o for o in dict.fromkeys(others) if o != answer], 3) + [answer]
    return pick_some(rng, choices, 4)


# ---- scenes: a grid name and a list of [cell, shape, color] ----

def scene(rng, grids, least=1, most=9, distinct=None):
    """distinct: "shape" or "color": no two objects share it, so that it names one of them."""
    grid = pick(rng, grids)
    cells = len(GRIDS[grid][1])
    most = min(most, cells, {"shape": len(EASY), "color": len(COLORS)}.get(distinct, cells))
    n = int(rng.integers(min(least, most), most + 1))
    shapes = pick_some(rng, EASY, n) if distinct == "shape" else [
        pick(rng, EASY) for _ in range(n)]
    colors = pick_some(rng, list(COLORS), n) if distinct == "color" else [
        pick(rng, list(COLORS)) for _ in range(n)]
    cells = sorted(int(c) for c in rng.permutation(cells)[:n])
    return grid, [[c, s, k] for c, s, k in zip(cells, shapes, colors)]


def places(grid):
    return GRIDS[grid][1]


MANY = ("1x2", "2x1", "1x3", "3x1", "2x2", "2x2")


def plan_color(rng):
    """Of one object, or of one of two by its place."""
    if rng.random() < 0.6:
        grid, objects = scene(rng, ("1x1",) + MANY, 1, 1)
        return dict(grid=grid, objects=objects), "What color is the shape?", objects[0][2], COLORS
    grid, objects = scene(rng, MANY, 2, 2, "color")
    cell, _, color = pick(rng, objects)
    return (dict(grid=grid, objects=objects), f"What color is the {places(grid)[cell]} shape?",
            color, COLORS)


def plan_shape(rng):
    grid, objects = scene(rng, ("1x1",) + MANY, 1, 1)
    return dict(grid=grid, objects=objects), "What shape is it?", objects[0][1], SHAPES


def plan_place(rng):
    """Of one object, or of one of two by its color."""
    grid, objects = scene(rng, MANY, 1, 2, "color")
    cell, _, color = pick(rng, objects)
    q = f"Where is the {color} shape?" if len(objects) > 1 else "Where is the shape?"
    names = places(grid)
    if len(names) < 4:   # options from the pictures of other shapes, too
        names = names + ("left", "right", "top", "bottom")
    return dict(grid=grid, objects=objects), q, places(grid)[cell], names


def plan_count(rng):
    grid, objects = scene(rng, MANY, 1, 4)
    if rng.random() < 0.5:
        return (dict(grid=grid, objects=objects), "How many shapes are there?",
                NUMBERS[len(objects)], NUMBERS)
    # The number of matching objects is drawn first: left to chance it would nearly always be one.
    k, asked = int(rng.integers(len(objects) + 1)), pick(rng, list(COLORS))
    hit = set(int(i) for i in rng.permutation(len(objects))[:k])
    for i, o in enumerate(objects):
        o[2] = asked if i in hit else pick(rng, [c for c in COLORS if c != asked])
    q = f"How many {asked} shapes are there?"
    return dict(grid=grid, objects=objects), q, NUMBERS[k], NUMBERS


# ---- sounds ----

def plan_order(rng):
    notes = [2 * n + int(rng.integers(2)) for n in pick_some(rng, range(3), int(
        rng.integers(2, 4)))]
    frames = [int(rng.integers(3, 6)) for _ in notes]
    if rng.random() < 0.5:
        a = pick(rng, ("highest", "lowest"))
        at = notes.index(max(notes) if a == "highest" else min(notes))
        return dict(notes=notes, frames=frames), f"Which tone is the {a}?", ORDINALS[at], ORDINALS
    i, j = (int(v) for v in pick_some(rng, range(len(notes)), 2))
    q = f"Is the {ORDINALS[i]} tone higher or lower than the {ORDINALS[j]}?"
    return dict(notes=notes, frames=frames), q, "higher" if notes[i] > notes[j] else "lower", None


def plan_pitch(rng):
    """Up to three tones are counted or asked for one by one; up to two are named."""
    notes = [int(rng.integers(len(NOTES))) for _ in range(int(rng.integers(1, 4)))]
    frames = [int(rng.integers(3, 6)) for _ in notes]
    if rng.random() < 0.3:
        return dict(notes=notes, frames=frames), "How many tones are there?", NUMBERS[len(notes)], \
            NUMBERS
    if rng.random() < 0.3 or len(notes) > 2:
        at = int(rng.integers(len(notes)))
        return dict(notes=notes, frames=frames), f"What is the {ORDINALS[at]} tone?", \
            PITCHES[notes[at]], None
    answer = " ".join(PITCHES[n] for n in notes)
    others = {" ".join(pick(rng, PITCHES) for _ in notes) for _ in range(12)}
    if len(notes) == 1:
        return dict(notes=notes, frames=frames), "Name the tones.", answer, None
    return dict(notes=notes, frames=frames), "Name the tones.", answer, sorted(others)


def plan_words(rng):
    """Of two words: of one there are too few for some of them to be held out."""
    words = [pick(rng, list(WORDS)) for _ in range(2)]
    sound = dict(words=words, frames=[int(rng.integers(1, 3)) for _ in words])
    if rng.random() < 0.75:
        at = int(rng.integers(len(words)))
        return sound, f"What is the {ORDINALS[at]} word?", words[at], list(WORDS)
    others = {" ".join(pick(rng, list(WORDS)) for _ in words) for _ in range(12)}
    return sound, "What is said?", " ".join(words), sorted(others)


# ---- videos: a grid and the objects of each frame ----

MOVES = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def changed(rng, grid, objects, change, at):
    """The objects after the change of one; None where it cannot happen."""
    (rows, cols), _ = GRIDS[grid]
    taken = {o[0] for o in objects}
    after = [list(o) for o in objects]
    cell, shape, color = objects[at]
    if change == "color":
        used = {o[2] for o in objects}
        after[at][2] = pick(rng, [c for c in COLORS if c not in used])
    elif change == "place":
        r, c = divmod(cell, cols)
        free = [(r + dr) * cols + c + dc for dr, dc in MOVES.values()
                if 0 <= r + dr < rows and 0 <= c + dc < cols]
        free = [f for f in free if f not in taken]
        if not free:
            return None
        after[at][0] = pick(rng, free)
    elif change == "vanished":
        del after[at]
    elif change == "appeared":
        free = [c for c in range(rows * cols) if c not in taken]
        if not free:
            return None
        shape = pick(rng, [s for s in EASY if s not in {o[1] for o in objects}])
        color = pick(rng, [c for c in COLORS if c not in {o[2] for o in objects}])
        after.append([pick(rng, free), shape, color])
    return sorted(after)


def plan_video(rng, change, most=2):
    """Shapes and colors all differ; the change comes between two frames drawn at random."""
    while True:
        grid, objects = scene(rng, ("1x2", "2x1", "2x2"), 1, most, "shape")
        colors = pick_some(rng, list(COLORS), len(objects))
        for o, c in zip(objects, colors):
            o[2] = c
        at = int(rng.integers(len(objects)))
        after = changed(rng, grid, objects, change, at)
        if after is not None:
            break
    count = int(rng.integers(2, 4))
    when = int(rng.integers(1, count))
    return dict(grid=grid, frames=[objects] * when + [after] * (count - when)), objects, after, at


def plan_change(rng):
    change = pick(rng, SHOWN)
    video, _, _, _ = plan_video(rng, change)
    return video, "What changed?", change, SHOWN


def plan_detail(rng):
    change = pick(rng, SHOWN)
    video, before, after, at = plan_video(rng, change, most=1)
    cell, _, color = before[at]
    if change == "color":
        new = next(o[2] for o in after if o[0] == cell)
        return video, "What color did it become?", new, list(COLORS)
    if change == "vanished":
        return video, "What color vanished?", color, list(COLORS)
    if change == "appeared":
        return video, "What color appeared?", (
            next(o[2] for o in after if o not in before)), list(COLORS)
    cols = GRIDS[video["grid"]][0][1]
    new = next(o[0] for o in after if o[2] == color)
    step = (new // cols - cell // cols, new % cols - cell % cols)
    way = next(w for w, d in MOVES.items() if d == step)
    return video, "Which way did it move?", way, list(MOVES)


# ---- picture and sound together ----

def plan_both(rng):
    """A color is seen and a tone is heard.  Neither is enough for the two words of the answer."""
    grid, objects = scene(rng, ("1x1",) + MANY, 1, 1)
    notes = [int(rng.integers(len(NOTES)))]
    both = dict(grid=grid, objects=objects, notes=notes, frames=[int(rng.integers(3, 6))])
    answer = f"{objects[0][2]} {PITCHES[notes[0]]}"
    others = {f"{pick(rng, list(COLORS))} {pick(rng, PITCHES)}" for _ in range(12)}
    return both, "Name the color and the tone.", answer, sorted(others)


PLANS = {"image_color": plan_color, "image_shape": plan_shape, "image_place": plan_place,
         "image_count": plan_count, "audio_order": plan_order, "audio_pitch": plan_pitch,
         "audio_words": plan_words, "video_change": plan_change, "video_detail": plan_detail,
         "image_audio": plan_both}


def plan(rng, kind, split="train", letters=None):
    """letters: True for options, False for a free answer, None for either."""
    while True:
        shown, question, answer, others = PLANS[kind](rng)
        # Durations are no part of the combination: they are of the same sort as phases.
        what = {k: v for k, v in shown.items() if k != "frames" or kind.startswith("video")}
        if split_of(kind, sorted(what.items()), question) != split:
            continue
        if letters and (others is None or len(set(others) - {answer}) < 3):
            continue
        break
    lettered = letters if letters is not None else bool(
        others is not None and len(set(others) - {answer}) >= 3 and rng.random() < 0.1)
    return {"kind": kind, "seed": int(rng.integers(1 << 31)), "shown": shown,
            "question": question, "answer": answer,
            "choices": options(rng, answer, others) if lettered else None}


# ---- drawing ----

def mask(shape, y, x):
    """y [h][1], x [1][w] in units of the object's half size -> bool [h][w]"""
    if shape == "circle":
        return x * x + y * y <= 1
    if shape == "ring":
        r = x * x + y * y
        return (r <= 1) & (r >= 0.25)
    if shape == "square":
        return (np.abs(x) <= 0.88) & (np.abs(y) <= 0.88)
    if shape == "cross":
        ax, ay = np.abs(x), np.abs(y)
        return ((ax <= 0.3) & (ay <= 1)) | ((ay <= 0.3) & (ax <= 1))
    return (y <= 0.85) & (np.abs(x) * 1.85 <= y + 1)   # triangle, its point up


def size_of(rng, grid):
    """Height and width in pixels: cells about square; small, large, and the budget's own size."""
    rows, cols = GRIDS[grid][0]
    h, w = rows * rng.uniform(0.85, 1.15), cols * rng.uniform(0.85, 1.15)
    f = math.sqrt(70 * 48 * 48 / (h * w))
    if rng.random() < 0.5:   # already what the resize would make of it
        return max(1, int(f * h / 48)) * 48, max(1, int(f * w / 48)) * 48
    f *= rng.uniform(0.3, 0.9)
    return max(16, round(f * h)), max(16, round(f * w))


def looks(rng, grid):
    """How a picture or every frame of a video is drawn: grey, size, and a little of chance in each
    cell's place and size and in each color's shade.  One for all frames: what does not change looks
    the same in each of them."""
    cells, size = len(places(grid)), size_of(rng, grid)
    return {"grey": pick(rng, GREYS), "size": size,
            "half": rng.uniform(0.72, 0.92, cells), "y": rng.uniform(-0.06, 0.06, cells),
            "x": rng.uniform(-0.06, 0.06, cells),
            "shade": {c: np.clip(v, 0, 255).astype(np.uint8) for c, v in
                      zip(COLORS, np.array(list(COLORS.values())) + rng.integers(-14, 15, (6, 3)))}}


def draw(look, grid, objects):
    h, w = look["size"]
    rows, cols = GRIDS[grid][0]
    img = np.full((h, w, 3), look["grey"], np.uint8)
    for cell, shape, color in objects:
        r, c = divmod(cell, cols)
        half = 0.5 * min(h / rows, w / cols) * look["half"][cell]
        cy, cx = (r + 0.5 + look["y"][cell]) * h / rows, (c + 0.5 + look["x"][cell]) * w / cols
        y0, y1 = max(0, int(cy - half)), min(h, int(cy + half) + 2)
        x0, x1 = max(0, int(cx - half)), min(w, int(cx + half) + 2)
        y = (np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - cy)) / np.float32(half)
        x = (np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5 - cx)) / np.float32(half)
        seen, box = mask(shape, y, x), img[y0:y1, x0:x1]
        for i, v in enumerate(look["shade"][color]):
            np.copyto(box[..., i], v, where=seen)
    return Image.fromarray(img)


def hiss(rng, low, high, samples):
    """Noise between two frequencies."""
    spectrum = np.zeros(samples // 2 + 1, np.complex128)
    a, b = low * samples // RATE, high * samples // RATE
    spectrum[a:b] = np.exp(2j * np.pi * rng.random(b - a))
    wave = np.fft.irfft(spectrum, samples)
    return wave / np.sqrt(np.mean(wave * wave))


def tones(rng, frequencies, samples):
    """A sum of sines with phases of their own, a little out of tune."""
    t = np.arange(samples) * (2 * np.pi / RATE)
    wave = sum(np.sin(f * rng.uniform(0.99, 1.01) * t + rng.uniform(0, 2 * np.pi))
               for f in frequencies)
    return wave / np.sqrt(np.mean(wave * wave))


def sound(rng, shown):
    """Tones of 3 to 5 frames, or words of a consonant and two vowels; pauses of one frame."""
    pieces, gap = [], np.zeros(FRAME)
    if "notes" in shown:
        for note, n in zip(shown["notes"], shown["frames"]):
            pieces += [tones(rng, (NOTES[note],), n * FRAME), gap]
    else:
        for word, n in zip(shown["words"], shown["frames"]):
            for c in WORDS[word]:
                pieces.append(hiss(rng, *HISSES[c], FRAME) if c in HISSES
                              else tones(rng, VOWELS[c], n * FRAME))
            pieces.append(gap)
    wave = np.concatenate(pieces[:-1]) * rng.uniform(0.1, 0.3)
    # 16 bits, as in a WAV file
    return (np.rint(np.clip(wave, -1, 1) * 32767) / 32768).astype(np.float32)


def patches(image, budget=70):
    """What Transformers' image processor makes of a picture, without its detours: patches uint8
    [P][6912] (times 1/255) and their positions int64 [P][2] as x, y; not padded."""
    import torch
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    h, w = x.shape[2:]
    f = math.sqrt(budget * 48 * 48 / (h * w))
    th, tw = int(f * h / 48) * 48, int(f * w / 48) * 48
    if th == 0:
        th, tw = 48, min(w // h * 48, budget * 48)
    elif tw == 0:
        th, tw = min(h // w * 48, budget * 48), 48
    if (th, tw) != (h, w):
        x = torch.nn.functional.interpolate(x.contiguous(memory_format=torch.channels_last),
                                            (th, tw), mode="bicubic", antialias=True)
    rows, cols = th // 48, tw // 48
    x = x[0].reshape(3, rows, 48, cols, 48).permute(1, 3, 2, 4, 0).reshape(rows * cols, 6912)
    at = torch.arange(rows * cols)
    return x, torch.stack((at % cols, at // cols), -1)


def media(recipe):
    """The recipe's picture, sound or frames, as parts."""
    rng = np.random.Generator(np.random.PCG64(recipe["seed"]))
    shown, kind, parts = recipe["shown"], recipe["kind"], []
    if kind.startswith("video"):
        look = looks(rng, shown["grid"])
        return [("video", [(float(i), draw(look, shown["grid"], objects))
                           for i, objects in enumerate(shown["frames"])])]
    if "objects" in shown:
        look = looks(rng, shown["grid"])
        parts.append(("image", draw(look, shown["grid"], shown["objects"])))
    if "notes" in shown or "words" in shown:
        parts.append(("audio", sound(rng, shown)))
    return parts


def prompt(recipe):
    """The text after the media, in MMLU's layout, and the answer's text."""
    q, choices = recipe["question"], recipe["choices"]
    if choices is None:
        return f"{q}\nAnswer:", " " + recipe["answer"]
    lines = "".join(f"{letter}. {c}\n" for letter, c in zip("ABCD", choices))
    return f"{q}\n{lines}Answer:", " " + "ABCD"[choices.index(recipe["answer"])]


def render(recipe):
    question, answer = prompt(recipe)
    return {"kind": recipe["kind"], "recipe": recipe,
            "parts": media(recipe) + [("text", question, 0.0), ("text", answer, 1.0)]}


def make(rng, kind, split="train", letters=None):
    return render(plan(rng, kind, split, letters))


def vocabulary():
    """Every word that questions and answers are made of: worth a token each."""
    words = set(COLORS) | set(SHAPES) | set(NUMBERS) | set(ORDINALS) | set(PITCHES) | set(CHANGES)
    words |= {w for _, names in GRIDS.values() for n in names for w in n.split()}
    words |= {f"{s}s" for s in SHAPES} - {"crosss"} | {"crosses", "shape", "shapes", "color"}
    words |= set(MOVES) | set(WORDS) | {"highest", "lowest", "higher", "lower", "tone", "tones"}
    words |= set("What Which Where How Is Name many are there the is it said you hear has than "
                 "word did become move way vanished appeared or".split())
    return sorted(words)
