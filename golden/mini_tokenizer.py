# SPDX-License-Identifier: Apache-2.0
"""The miniature's tokenizer: Gemma's components, and a token for every word of its world.

The pieces are trained on the words themselves, each as often as the others, so that merging goes on
until every word is one token, with and without the space before it; a word is never joined to the
punctuation behind it, digits stay single, and whatever else there is falls back to characters and
bytes.  The words are those that the generators of text and media write in some samples."""
import re
import string

import mini_media
import mini_text
import numpy as np
from make_tiny import make_tokenizer

SPARE = ("First comes next now older oldest ordering reading sequences swap swaps younger "
         "youngest").split()   # of questions no longer asked
LATER = {"business", "biology"}   # not of the world when the tokenizer was made: spelt out
JOINED = ["\n\n", "Answer:", "Let's", *(f"{c}." for c in mini_text.LETTERS),
          *(f" {c}" for c in mini_text.LETTERS)]


def words():
    """Every word of the generated text, in alphabetical order."""
    found = set(mini_media.vocabulary()) | set(SPARE)
    rng = np.random.Generator(np.random.PCG64(1))
    for kind in mini_text.KINDS:
        for _ in range(400):
            text = "".join(p[1] for p in mini_text.make(rng, kind)["parts"])
            found |= set(re.findall(r"(?<!\|)[A-Za-z_]+(?!\|)", text))
    for values in (mini_text.PEOPLE, mini_text.TOWNS, mini_text.RIVERS, mini_text.KINGS,
                   mini_text.NUMBERS, *mini_text.SETS.values(), *mini_text.TOWN.values()):
        found |= set(values)
    return sorted(found - LATER)


def build(vocab_size):
    """(contents of tokenizer.json, {token: id})"""
    texts = [t for w in words() for t in (w, " " + w)]
    texts += JOINED + [c for c in string.printable if c not in "\r\x0b\x0c"]
    return make_tokenizer(vocab_size, True, True, texts)
