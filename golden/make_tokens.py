#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden/tiny/<model>/tokens.json: texts, and what the `tokenizers` library makes of
them."""
import argparse
import json
import os

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = [
    "", " ", "  ", "\n", "\n\n\n", "\t", "a", "A model reads a text.",
    "The river runs past the mill.",
    " leading space", "trailing space ", "two  spaces, three   spaces", "Ends with a newline\n",
    "1234567890", "10:45, platform 3; 12.50 EUR",
    "for (int i = 0; i < n; i++) {\n    sum += a[i];\n}\n",
    "Die Fähre ist müde.", "Où êtes-vous allés?", "¿Quién tiene los billetes?", "Příští zastávka",
    "Вода холодная", "漢字とかな", "한국어", "עברית", "العربية", "ไทย", "🙂", "👩‍👩‍👧‍👦 family",
    "e\u0301 \u00e9",
    "\u2581", "a\u2581b", " \u2581 ", "\u00a0no-break", "\ufeffmark", "zero\u200bwidth",
    "\U0010ffff",
    "\x00", "\x01\x7f", "\r\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                ",
    "<0x41>", "<0x0A>", "<0xZZ>", "<bos>", "<bos>twice", "text<eos>", "<pad><unk><mask>", "<unk>",
    "<|turn>user\nHello.<turn|>\n<|turn>model\n", "<|channel>thought\n<channel|>", "<|think|>",
    '<|tool>declaration:f{a:<|"|>b<|"|>}<tool|>', "<|tool_call>call:f{}<tool_call|>",
    "<|tool_response>response:f{}<tool_response|>", "<|image><|image|><|image|><image|>",
    "<|image|",
    "<<|image|>>", "<|audio><|audio|><audio|>", "<|video|> 00:00", "<|turn", "<bos", "< bos>",
    "<BOS>",
    "<|turn><turn|><|turn|>", "the the the", "there is no other", "lamp afraid of the dark",
    '{"name": "tool", "days": 3}', "def mean(values):\n    return 0.0", "x" * 200, "ab" * 100,
    "é" * 50,
    "🙂" * 20, "the " * 60, "a\n" * 40,
]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--root", default=os.path.join(HERE, "tiny"))
    root = ap.parse_args().root
    for model in ("small", "even", "mini"):
        tok = Tokenizer.from_file(os.path.join(root, model, "model", "tokenizer.json"))
        rows = []
        for text in TEXTS:
            ids = tok.encode(text).ids
            plain = tok.encode(text, add_special_tokens=False).ids
            rows.append({"text": text, "ids": ids, "ids_without_special": plain,
                         "decoded": tok.decode(ids, skip_special_tokens=False),
                         "decoded_without_special": tok.decode(ids, skip_special_tokens=True)})
        with open(os.path.join(root, model, "tokens.json"), "w", encoding="utf-8") as f:
            f.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
        print(f"{model}: {len(rows)} texts")


if __name__ == "__main__":
    main()
