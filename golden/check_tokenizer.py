#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peers of the tokenizer: the `tokenizers` library and llama.cpp's vectors.

  check_tokenizer.py --gemma4 build/gemma4 --source DIR
      DIR is the unpacked source of PyPI's llama-cpp-python.  Builds the
      tokenizer.json of the real vocabulary (262,144 tokens, 514,906 merges) from
      its ggml-vocab-gemma-4.gguf, then compares `gemma4 tokens` with the library
      and with the .inp/.out vectors beside it, and times texts of 1 MB.
      (make check-peers)
  check_tokenizer.py --write harness/check/data/tokenizer
      Remakes the small tokenizers and cases of check_tokenizer.c.  Needs the
      library of the version below, nothing else.
"""
import argparse
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time

import tokenizers

VERSION = "0.23.3"          # what the cases in the repository were made with
SECONDS_PER_MB = 2.0        # issue 3: 1 MB of text in under 2 s
LOAD_SECONDS, LOAD_MB = 1.0, 300

SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>", "<|image|>",
            "<|image>", "<image|>", '<|"|>']
RANGES = [(0x20, 0x7e)] * 4 + [
    (0x0, 0x1f), (0xa0, 0x24f), (0x370, 0x3ff), (0x400, 0x4ff), (0x590, 0x5ff), (0x600, 0x6ff),
    (0x900, 0x97f), (0xe00, 0xe7f), (0x1780, 0x17ff), (0x2000, 0x206f), (0x2581, 0x2581),
    (0x3040, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0x1f300, 0x1faff), (0xfff0, 0xffff),
    (0x10000, 0x10ffff)]
SPACES = [" ", "  ", "\n", "\t", "\r\n", "\u3000", "\u00a0", "\u2003", "\u2028"]


# ---- texts -----------------------------------------------------------------

def random_piece(r, vocab, specials):
    kind = r.random()
    if kind < .15:
        return r.choice(specials)
    if kind < .20:
        return r.choice(SPACES)
    if kind < .25:
        return r.choice(" \n\t") * r.randint(1, 40)
    if kind < .50:
        return r.choice(vocab).replace("\u2581", " ")
    if kind < .55:
        return r.choice(vocab)
    if kind < .60:
        return r.choice(specials)[:r.randint(1, 6)]
    if kind < .65:
        return str(r.randint(0, 10 ** 9))
    low, high = r.choice(RANGES)
    return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 12)))


def random_text(r, vocab, specials, pieces):
    return "".join(random_piece(r, vocab, specials) for _ in range(r.randint(0, pieces)))


FIXED = ["", " ", "a", "the cat", "  the  cat  ", "tab\there\nline\r\n\n\n", "na\u00efve \u00e9tat",
         "\u6f22\u5b57\u304b\u306a", "\U0001f642\U0001f469\u200d\U0001f467", "<|turn>the<turn|>\n",
         "<bos>x", "<bos><bos>x", "<|image|><|image|>", "<|image", "<<bos>>", "\u2581the\u2581cat",
         "nul\0in\0side", "<0x41>", "aaaaaaaaaaaaaaaaa", "0123456789", "\ufffd\ufeff",
         "the cat sat on the mat and the cat ate the rat"]


# ---- small tokenizers for the unit test --------------------------------------

CORPUS = """the cat sat on the mat and the cat ate the rat that sat on the mat at the gate
one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
a tokenizer takes a text and gives a list of numbers and takes the numbers and gives the text
in the beginning there is a beginning and in the end there is an end, and then nothing at all
she sells sea shells on the sea shore; the shells she sells are sea shells for sure
und der Hund und die Katze und das Haus stehen unter dem Baum und warten auf den Regen
""".splitlines()


def small_json(vocab_size=440):
    """A tokenizer.json like those of the test models, trained on CORPUS."""
    tok = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True,
                                                     fuse_unk=True))
    tok.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False,
                                             special_tokens=SPECIALS + bytes_)
    tok.train_from_iterator(CORPUS * 3, trainer)
    t = json.loads(tok.to_str())
    t["added_tokens"] = [a for a in t["added_tokens"] if a["content"] in SPECIALS]
    t["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "},
                          "behavior": "MergedWithPrevious", "invert": False}
    t["post_processor"] = template(t, ["<bos>"], [])
    t["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}]}
    return t


def template(t, before, after):
    piece = [{"SpecialToken": {"id": n, "type_id": 0}} for n in before + after]
    piece.insert(len(before), {"Sequence": {"id": "A", "type_id": 0}})
    ids = t["model"]["vocab"]
    return {"type": "TemplateProcessing", "single": piece,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]}
                               for n in before + after}}


def added(t, content, **flags):
    vocab = t["model"]["vocab"]
    new = [a for a in t["added_tokens"] if a["content"] not in vocab]
    entry = dict(id=vocab.get(content, len(vocab) + len(new)), content=content, single_word=False,
                 lstrip=False, rstrip=False, normalized=False, special=False)
    entry.update(flags)
    t["added_tokens"].append(entry)


def without_bytes(t):
    """The same tokenizer without the 256 byte tokens; ids stay dense."""
    gone = {f"<0x{i:02X}>" for i in range(256)}
    names = [n for n, _ in sorted(t["model"]["vocab"].items(), key=lambda x: x[1]) if n not in gone]
    t["model"]["vocab"] = {n: i for i, n in enumerate(names)}
    t["model"]["byte_fallback"] = False


def variants():
    """name -> (tokenizer.json, extra texts): each part that we support, once."""
    base = json.dumps(small_json())
    yield "base", json.loads(base), []

    t = json.loads(base)            # the shipped tokenizer: nothing around the text
    t["post_processor"] = t["pre_tokenizer"] = None
    t["model"]["merges"] = [" ".join(m) for m in t["model"]["merges"]]
    t["model"]["merges"].insert(3, "#version: 0.2")
    yield "shipped", t, []

    t = json.loads(base)            # older Gemma-like files: "\u2581" in front, <eos> behind
    t["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"}, t["normalizer"]]}
    t["post_processor"] = template(t, ["<bos>"], ["<eos>"])
    t["decoder"] = {"type": "Sequence", "decoders": t["decoder"]["decoders"][:2]}
    yield "prepend", t, []

    t = json.loads(base)            # unknown characters, fused
    without_bytes(t)
    t["post_processor"] = None
    yield "unk", t, ["the\u0416\u0416cat\u0416", "\u0416", "\u0416<bos>\u0416\u0416"]

    t = json.loads(base)            # unknown ones singly, whole words first, no decoder
    without_bytes(t)
    t["model"].update(fuse_unk=False, ignore_merges=True)
    t["post_processor"] = t["decoder"] = None
    yield "unk_each", t, ["the\u0416\u0416cat\u0416", "\u2581the", "the", "numbers"]

    t = json.loads(base)            # nothing for an unknown character: it vanishes
    without_bytes(t)
    t["model"]["unk_token"] = None
    t["post_processor"] = None
    yield "unk_none", t, ["the\u0416\u0416cat\u0416", "\u0416"]

    t = json.loads(base)            # added tokens of all kinds
    added(t, "[left]", lstrip=True)
    added(t, "[right]", rstrip=True, special=True)
    added(t, "[both]", lstrip=True, rstrip=True)
    added(t, "\n", rstrip=True)
    added(t, "the cat", normalized=True)
    added(t, "the cat sat")
    added(t, "cat", normalized=True, special=True)
    added(t, " x y", normalized=True, special=True, lstrip=True)
    added(t, "\u6f22\u5b57")
    yield "added", t, [
        "a [left] b", "a  \t[left][left] b", "[right]  \u3000 b", "a [both] \n b[both]",
        "\n\n\n  \n x", "the cat sat on", "the cat", "the  cat", "thecat cat", "a   x y z",
        "\u6f22\u5b57\u6f22", "[both] [both]  [left]\u2003\u00a0[right]\u2028[left]",
        "[right]\n\n \n"]


def write_cases(folder):
    if tokenizers.__version__ != VERSION:
        sys.exit(f"tokenizers {tokenizers.__version__}, the cases are made with {VERSION}")
    for name, t, extra in variants():
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        with open(f"{folder}/{name}/tokenizer.json", "w", encoding="utf-8") as f:
            json.dump(t, f, ensure_ascii=False)
            f.write("\n")
        tok = tokenizers.Tokenizer.from_file(f"{folder}/{name}/tokenizer.json")
        r = random.Random(name)
        specials = [a["content"] for a in t["added_tokens"]]
        vocab = sorted(t["model"]["vocab"])
        texts = FIXED + extra + [random_text(r, vocab, specials, 8) for _ in range(24)]
        encode = [dict(text=x, ids=tok.encode(x).ids,
                       ids_without_special=tok.encode(x, add_special_tokens=False).ids)
                  for x in texts]
        size = tok.get_vocab_size()
        runs = [e["ids"] for e in encode] + [random_ids(r, t, size) for _ in range(40)]
        decode = [dict(ids=i, decoded=tok.decode(i, skip_special_tokens=False),
                       decoded_without_special=tok.decode(i, skip_special_tokens=True))
                  for i in runs]
        with open(f"{folder}/{name}/cases.json", "w", encoding="ascii") as f:
            f.write('{"tokenizers": "%s",\n "encode": [\n  ' % VERSION)
            f.write(",\n  ".join(json.dumps(e) for e in encode))
            f.write('\n ], "decode": [\n  ')
            f.write(",\n  ".join(json.dumps(d) for d in decode))
            f.write("\n ]}\n")


def random_ids(r, t, size):
    """Ids as a model might emit them: byte tokens in sensible and senseless runs."""
    vocab = t["model"]["vocab"]
    out = []
    for _ in range(r.randint(1, 10)):
        kind = r.random()
        if kind < .4 and "<0x41>" in vocab:
            low, high = r.choice(RANGES)
            data = chr(r.randint(low, high)).encode("utf-8", "replace")
            data = data[:r.randint(1, len(data))] if r.random() < .4 else data
            out += [vocab[f"<0x{b:02X}>"] for b in data]
        elif kind < .5:
            out.append(size + r.randint(0, 3))
        elif kind < .7:
            out.append(r.choice(t["added_tokens"])["id"])
        else:
            out.append(r.randrange(size))
    return out


# ---- the real vocabulary -----------------------------------------------------

def gguf_metadata(path):
    """Key -> value of a GGUF's metadata (format: ggml's docs/gguf.md)."""
    data = open(path, "rb").read()
    kinds = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
             12: "d"}
    at = 24

    def number(code):
        nonlocal at
        size = struct.calcsize("<" + code)
        value = struct.unpack_from("<" + code, data, at)[0]
        at += size
        return value

    def value(kind):
        nonlocal at
        if kind == 8:
            n = number("Q")
            at += n
            return data[at - n:at].decode("utf-8")
        if kind == 9:
            inner, count = number("I"), number("Q")
            return [value(inner) for _ in range(count)]
        return number(kinds[kind])

    assert data[:4] == b"GGUF", path
    return {value(8): value(number("I")) for _ in range(struct.unpack_from("<Q", data, 16)[0])}


def real_json(source, path):
    """tokenizer.json of the real vocabulary; components as Gemma ships them."""
    meta = gguf_metadata(f"{source}/vendor/llama.cpp/models/ggml-vocab-gemma-4.gguf")
    names, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    t = small_json()
    t["added_tokens"] = [
        dict(id=i, content=n, single_word=False, lstrip=False, rstrip=False, normalized=False,
             special=True) for i, n in enumerate(names) if kinds[i] in (3, 4)]
    t["post_processor"] = None
    t["model"]["vocab"] = {n: i for i, n in enumerate(names)}
    t["model"]["merges"] = [m.split(" ") for m in meta["tokenizer.ggml.merges"]]
    with open(path, "w", encoding="utf-8") as f:
        json.dump(t, f, ensure_ascii=False, indent=2)
    return t


def run_tokens(gemma4, folder, text, *options, limit_mb=None):
    """(ids, text, wall seconds, CPU seconds) of one `gemma4 tokens --json`; with
    limit_mb it has no more address space than that."""
    def limit():
        if limit_mb:
            resource.setrlimit(resource.RLIMIT_AS, (limit_mb << 20, limit_mb << 20))
    with tempfile.TemporaryFile() as f:
        f.write(text.encode("utf-8"))
        f.seek(0)
        start = time.monotonic()
        p = subprocess.Popen([gemma4, "tokens", "--model", folder, "--json", *options], stdin=f,
                             stdout=subprocess.PIPE, preexec_fn=limit)
        out = p.stdout.read()
        _, status, usage = os.wait4(p.pid, 0)
        wall = time.monotonic() - start
        p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        sys.exit(f"gemma4 tokens: exit {p.returncode}")
    o = json.loads(out)
    return o["ids"], o["text"], wall, usage.ru_utime + usage.ru_stime


class Score:
    """Counts comparisons; shows the first few that differ."""

    def __init__(self):
        self.done = self.bad = 0

    def equal(self, what, ours, theirs):
        self.done += 1
        if ours == theirs:
            return
        self.bad += 1
        if self.bad <= 10:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b),
                      min(len(ours), len(theirs)))
            print(f"DIFFERS {what[:200]!r} at {at}: {ours[at:at + 8]} but {theirs[at:at + 8]}")


def check_vectors(gemma4, folder, tok, source, score):
    """llama.cpp's .inp (texts) and .out (a line of ids each)."""
    stem = f"{source}/vendor/llama.cpp/models/ggml-vocab-gemma-4.gguf"
    inp = open(stem + ".inp", encoding="utf-8", newline="").read()
    texts = inp.split("\n__ggml_vocab_test__\n")
    lines = open(stem + ".out", encoding="ascii").read().split("\n")
    for text, line in zip(texts, lines):
        ids = [int(i) for i in line.split()]
        score.equal("llama.cpp: " + text, run_tokens(gemma4, folder, text)[0], ids)
        score.equal("library and llama.cpp: " + text, tok.encode(text).ids, ids)


def check_random(gemma4, folder, tok, specials, count, score):
    """A special token ends every piece of text, so thousands go in one run."""
    r = random.Random(2026)
    vocab = sorted(tok.get_vocab())
    end = tok.token_to_id("<turn|>")
    for _ in range(0, count, 500):
        texts = [random_text(r, vocab, specials, 30).replace("<turn|>", "") for _ in range(500)]
        ids, back, _, _ = run_tokens(gemma4, folder, "<turn|>".join(texts))
        ours = [[]]
        for i in ids:
            if i == end:
                ours.append([])
            else:
                ours[-1].append(i)
        score.equal("number of pieces", [len(ours)], [len(texts)])
        for text, mine in zip(texts, ours):
            score.equal(text, mine, tok.encode(text).ids)
        score.equal("decoded", back, tok.decode(ids, skip_special_tokens=False))
        # "\u2581" itself comes back as a space; all else comes back as it was.
        score.equal("round trip", back, "<turn|>".join(texts).replace("\u2581", " "))
    for _ in range(20):
        text = random_text(r, vocab, specials, 60)
        ids, back, _, _ = run_tokens(gemma4, folder, text, "--no-special")
        score.equal(text, ids, tok.encode(text, add_special_tokens=False).ids)
        score.equal(text, back, tok.decode(ids, skip_special_tokens=True))


def check_long(gemma4, folder, tok, vocab, score):
    """1 MB of one kind each: ids, and CPU seconds with loading and decoding in them
    (wall time says more about what else the machine does)."""
    r = random.Random(7)
    size = 10 ** 6
    words = [v.replace("\u2581", " ") for v in r.sample(vocab, 20000) if v.startswith("\u2581")]
    prose = (" ".join(CORPUS) + "\n") * 4000
    kinds = {"letter a": "a" * size, "spaces": " " * size, "newlines": "\n" * size,
             "digits": "".join(r.choice("0123456789") for _ in range(size)),
             "digit 3": "3" * size, "prose": prose[:size],
             "words": "".join(r.choice(words) for _ in range(size // 6))[:size],
             "letters": "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(size)),
             "ideographs": "".join(chr(r.randint(0x4e00, 0x9fff)) for _ in range(size // 3)),
             "bytes": "".join(chr(r.randint(0xe000, 0xf8ff)) for _ in range(size // 3)),
             "specials": "<|turn>" * (size // 7), "almost specials": "<|tur" * (size // 5)}
    for name, text in kinds.items():
        ids, _, wall, seconds = run_tokens(gemma4, folder, text)
        start = time.monotonic()
        theirs = tok.encode(text).ids
        library = time.monotonic() - start
        score.equal(name, ids, theirs)
        slow = seconds >= SECONDS_PER_MB
        score.bad += slow
        print(f"  1 MB {name:16} {len(ids):8} tokens  {wall:5.2f} s, CPU {seconds:5.2f} s"
              f"  (library {library:5.2f} s){'  TOO SLOW' if slow else ''}")


def check_peers(gemma4, source, count):
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        t = real_json(source, folder + "/tokenizer.json")
        vocab, specials = list(t["model"]["vocab"]), [a["content"] for a in t["added_tokens"]]
        tok = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
        loads = [run_tokens(gemma4, folder, "x", limit_mb=LOAD_MB) for _ in range(3)]
        seconds = min(x[3] for x in loads)
        print(f"  loading {len(vocab)} tokens, {len(t['model']['merges'])} merges: wall "
              f"{min(x[2] for x in loads):.2f} s, CPU {seconds:.2f} s (best of 3), "
              f"in {LOAD_MB} MB of address space")
        score.bad += seconds >= LOAD_SECONDS
        check_vectors(gemma4, folder, tok, source, score)
        check_random(gemma4, folder, tok, specials, count, score)
        check_long(gemma4, folder, tok, vocab, score)
    print(f"tokenizer: {score.done} comparisons with tokenizers {tokenizers.__version__} and "
          f"llama.cpp's vectors, {score.bad} bad")
    return 1 if score.bad else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--write", metavar="DIR")
    p.add_argument("--gemma4", default="build/gemma4")
    p.add_argument("--source", metavar="DIR", help="unpacked llama-cpp-python source")
    p.add_argument("--count", type=int, default=10000, help="random texts (default 10000)")
    a = p.parse_args()
    if a.write:
        write_cases(a.write)
        return 0
    if not a.source:
        p.error("--source or --write is needed")
    return check_peers(a.gemma4, a.source, a.count)


if __name__ == "__main__":
    sys.exit(main())
