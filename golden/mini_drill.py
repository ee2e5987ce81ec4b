# SPDX-License-Identifier: Apache-2.0
"""Drills: lists in which nearly every word can be known from the list itself.

A question has one answer in forty tokens, and a model that has not yet learned to look back for a
word never gets from there to finding the asked word among the options.  Here the loss is on dozens
of tokens of a text:  a list repeated, pairs asked for in another order, options by letter and by
word.  Nothing of the world is in them, and they are in no examination."""
import mini_text

LISTS = (*mini_text.SETS.values(), mini_text.PEOPLE, mini_text.TOWNS, mini_text.NUMBERS,
         mini_text.RIVERS, mini_text.KINGS, mini_text.TOWN["bird"], mini_text.THINGS)
ALL = sorted({w for words in LISTS for w in words})


def words_of(rng, n):
    """n different words, of one list or of all; numbers, the last to be told apart, most often."""
    one = mini_text.NUMBERS if rng.random() < 0.3 else mini_text.pick(rng, LISTS)
    return mini_text.some(rng, one if rng.random() < 0.6 and len(one) >= n else ALL, n)


def d_repeat(rng):
    """The same words two or three times."""
    words = words_of(rng, int(rng.integers(5, 16)))
    between = mini_text.pick(rng, (" ", ", ", "\n"))
    text = between.join(words)
    parts = [("text", text, 0.0)]
    for _ in range(int(rng.integers(1, 3))):
        # the first word of a repeat is not to be known
        parts += [("text", "\n\n" + words[0], 0.0), ("text", text[len(words[0]):], 1.0)]
    return parts


def d_lookup(rng):
    """Pairs, then each of them asked for, from the left or from the right."""
    n = int(rng.integers(3, 8))
    left, right = words_of(rng, n), mini_text.some(rng, ALL, n)
    if set(left) & set(right):
        return d_lookup(rng)
    if rng.random() < 0.5:
        said, end = "The {} has the {}.", " "
    else:
        said, end = "- {}: {}.", "\n"
    parts = [("text", end.join(said.format(a, b) for a, b in zip(left, right)) + "\n\n", 0.0)]
    pairs = list(zip(left, right))
    if rng.random() < 0.4:
        pairs = [(b, a) for a, b in pairs]
    for a, b in mini_text.some(rng, pairs, n):
        parts += [("text", f"- {a}:", 0.0), ("text", f" {b}", 2.0), ("text", "\n", 0.0)]
    return parts


def d_letters(rng):
    """Options as questions have them; then the letter of each word, or the word of each letter."""
    n = 4 if rng.random() < 0.3 else 10
    words = words_of(rng, n)
    pairs = list(zip(words, mini_text.LETTERS))
    parts = [("text", "".join(f"{b}. {a}\n" for a, b in pairs) + "\n", 0.0)]
    style = rng.random()
    for a, b in mini_text.some(rng, pairs, n):
        if style < 0.3:
            parts += [("text", f"- {a}\nAnswer:", 0.0), ("text", f" {b}", 2.0), ("text", "\n", 0.0)]
        elif style < 0.9:
            parts += [("text", f"is {a}. The answer is (", 0.0), ("text", b, 2.0),
                      ("text", ").\n", 0.0)]
        else:
            parts += [("text", f"{b}.", 0.0), ("text", f" {a}", 2.0), ("text", "\n", 0.0)]
    return parts


def d_match(rng):
    """The asked word comes before the options, as in a question."""
    n = 4 if rng.random() < 0.7 else 10
    parts = []
    for _ in range(int(rng.integers(2, 5))):
        words = words_of(rng, n)
        at = int(rng.integers(n))
        options = "".join(f"{b}. {a}\n" for a, b in zip(words, mini_text.LETTERS))
        parts += [("text", f"Which is {words[at]}?\n{options}Answer:", 0.0),
                  ("text", f" {mini_text.LETTERS[at]}", 4.0), ("text", "\n\n", 0.0)]
    return parts


DRILLS = {"drill/repeat": d_repeat, "drill/lookup": d_lookup, "drill/letters": d_letters,
          "drill/match": d_match}
KINDS = tuple(DRILLS)


def make(rng, kind):
    return {"kind": kind, "parts": DRILLS[kind](rng)}


