# SPDX-License-Identifier: Apache-2.0
"""Text of an invented world for the trained miniature: facts, questions, worked steps, tool calls.

    make(rng, kind, split="train") -> {"kind": str, "parts": [("text", text, weight), ...]}

weight is the loss weight of that text's tokens, 0 for what is only read.  The last part ends with
"<eos>" or "<turn|>" where a request would end.  Kinds are `KINDS`: "mmlu/SUBJECT" (0 to 5 shots in
MMLU's layout as lm-evaluation-harness writes it), "pro/CATEGORY" (ten options, worked steps, in
MMLU-Pro's), "copy" (which option is it), "facts/..." (the world, stated), "domain/..." (free
text), "chat" and "tool".  `question`, `pro_question`, `tool_call` and `domain` give the bare items
that an examination is made of.

Nothing is copied from anywhere: names are syllables drawn from a seed, and every question has a
combination (who and what is asked, which numbers, which order) whose hash says which split it
belongs to.  Facts themselves are stated in full in the training text; what is held out is asking
about them.
"""
import hashlib

import numpy as np

SPLITS = {"test": range(0, 3), "val": range(3, 4), "dev": range(4, 5), "train": range(5, 16)}
LETTERS = "ABCDEFGHIJ"
ANSWER = 8.0   # loss weight of a letter; stated facts and free text have 0.5 or less
NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
           "fifteen sixteen seventeen eighteen nineteen twenty").split()

SETS = {
    "animal": "fox owl cat dog goat duck mole crow hare frog bear swan".split(),
    "fruit": "plum pear apple fig lemon grape melon cherry peach lime date quince".split(),
    "job": "baker smith miller tailor fisher painter potter weaver farmer doctor mason hunter"
           .split(),
    "tool": "hammer saw needle brush hook knife spade ladder rope lamp wheel anvil".split(),
    "color": "red green blue yellow purple cyan white black".split(),
    "metal": "iron copper tin gold silver lead zinc nickel".split(),
}
THINGS = "ball key cup coin book hat bell ring".split()
SUBJECTS = ("option", "facts", "towns", "sums", "numbers", "sets", "elders")
CATEGORIES = ("math", "history", "law", "business", "biology")
DOMAINS = ("prose", "code", "arithmetic", "table")


def syllable_names(seed, n, length):
    """Names of two or three syllables, all different."""
    rng = np.random.Generator(np.random.PCG64(seed))
    out = []
    while len(out) < n:
        word = "".join("bdfghklmnprstvz"[rng.integers(15)] + "aeiou"[rng.integers(5)]
                       for _ in range(length))
        if word not in out:
            out.append(word)
    return [w.capitalize() for w in out]


PEOPLE = syllable_names(7, 48, 2)
TOWNS = [n + "n" for n in syllable_names(11, 16, 2)]
RIVERS = [n + "s" for n in syllable_names(12, 12, 2)]
KINGS = [n + "x" for n in syllable_names(13, 12, 2)]

# attribute of a person or of a town -> its values
PERSON = {"town": TOWNS, "job": SETS["job"], "pet": SETS["animal"], "fruit": SETS["fruit"],
          "tool": SETS["tool"]}
TOWN = {"river": RIVERS, "king": KINGS, "metal": SETS["metal"], "bird":
        "robin heron raven stork finch eagle gull wren".split()}


def make_world():
    rng = np.random.Generator(np.random.PCG64(5))
    people = {p: {a: v[rng.integers(len(v))] for a, v in PERSON.items()} for p in PEOPLE}
    towns = {t: {a: v[rng.integers(len(v))] for a, v in TOWN.items()} for t in TOWNS}
    order = [PEOPLE[i] for i in rng.permutation(len(PEOPLE))]
    # Age groups of their own size: who is older is a matter of the century of birth.
    return people, towns, {p: i * 12 // len(PEOPLE) for i, p in enumerate(order)}


PEOPLE_OF, TOWNS_OF, AGE = make_world()


# ---- drawing ----

def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def some(rng, items, n):
    return [items[i] for i in rng.permutation(len(items))[:n]]


def split_of(*combination):
    digest = hashlib.blake2b(repr(combination).encode(), digest_size=4).digest()
    slot = int.from_bytes(digest, "little") % 16
    return next(name for name, slots in SPLITS.items() if slot in slots)


def choose(rng, answer, others, n=4):
    """n different options, the answer in a random place."""
    wrong = some(rng, [o for o in dict.fromkeys(others) if o != answer], n - 1)
    return some(rng, wrong + [answer], n)


# ---- multiple choice: each returns (combination, question, answer, other options) ----

def q_facts(rng):
    """One stated fact."""
    if rng.random() < 0.75:
        who, of, values = pick(rng, PEOPLE), PEOPLE_OF, ("town", "job", "pet")
    else:
        who, of, values = pick(rng, TOWNS), TOWNS_OF, TOWN
    what = pick(rng, list(values))
    return ((who, what), f"What is the {what} of {who}?", of[who][what],
            {**PERSON, **TOWN}[what])


def q_towns(rng):
    """Two stated facts, the second about the first's answer."""
    who, what = pick(rng, PEOPLE), pick(rng, list(TOWN))
    return ((who, what), f"What is the {what} of the town of {who}?",
            TOWNS_OF[PEOPLE_OF[who]["town"]][what], TOWN[what])


def two_numbers(rng):
    """(numbers with their signs, "four plus three", "seven"): from zero to eighteen"""
    while True:
        a, b = (int(v) for v in rng.integers(1, 10, 2))
        sign = 1 if rng.random() < 0.6 else -1
        if a + sign * b >= 0:
            return ((a, sign * b), f"{NUMBERS[a]} {('plus', 'minus')[sign < 0]} {NUMBERS[b]}",
                    NUMBERS[a + sign * b])


def q_sums(rng):
    """Two numbers, or now and then three; results from zero to twenty."""
    while True:
        what, text, answer = two_numbers(rng)
        total = sum(what)
        if rng.random() < 0.1:
            c, sign = int(rng.integers(1, 10)), 1 if rng.random() < 0.6 else -1
            total, what = total + sign * c, (*what, sign * c)
            text += f" {('plus', 'minus')[sign < 0]} {NUMBERS[c]}"
        if 0 <= total <= 20:
            return what, f"What is {text}?", NUMBERS[total], NUMBERS


def q_numbers(rng):
    """The highest or the lowest of four."""
    four = [int(n) for n in rng.permutation(len(NUMBERS))[:4]]
    high = rng.random() < 0.5
    return ((high, tuple(sorted(four))), f"Which is the {'highest' if high else 'lowest'}?",
            NUMBERS[(max if high else min)(four)], [NUMBERS[n] for n in four])


def q_option(rng):
    """Where a word stands among the options: nothing but looking."""
    four = some(rng, pick(rng, [*SETS.values(), PEOPLE, TOWNS, NUMBERS, RIVERS, KINGS]), 4)
    return (tuple(four),), f"Which option is {four[0]}?", four[0], four


def q_sets(rng):
    """Which one belongs to a set, or is the only one that does not."""
    one, other = some(rng, list(SETS), 2)
    article = "an" if one[0] == "a" else "a"
    if rng.random() < 0.5:
        answer = pick(rng, SETS[one])
        rest = [pick(rng, SETS[s]) for s in some(rng, [s for s in SETS if s != one], 3)]
        return ((one, answer, tuple(sorted(rest))), f"Which of these is {article} {one}?", answer,
                rest)
    answer, rest = pick(rng, SETS[other]), some(rng, SETS[one], 3)
    return ((one, "not", answer, tuple(sorted(rest))), f"Which of these is not {article} {one}?",
            answer, rest)


def q_elders(rng):
    """Four stated ages, compared: the only one who is older, or younger, than the three others."""
    while True:
        people = some(rng, PEOPLE, 4)
        ages = sorted((AGE[p], p) for p in people)
        oldest = rng.random() < 0.5
        if ages[3][0] > ages[2][0] if oldest else ages[1][0] > ages[0][0]:
            return ((tuple(sorted(people)), oldest),
                    f"Who was born {'first' if oldest else 'last'}?",
                    ages[3 if oldest else 0][1], people)


QUESTIONS = {"option": q_option, "facts": q_facts, "towns": q_towns, "sums": q_sums,
             "numbers": q_numbers, "sets": q_sets, "elders": q_elders}


def question(rng, subject, split="train"):
    """{"question", "choices" [4], "answer" 0..3}"""
    while True:
        what, text, answer, others = QUESTIONS[subject](rng)
        if split_of(subject, what) == split:
            break
    choices = choose(rng, answer, others)
    return {"question": text, "choices": choices, "answer": choices.index(answer)}


# ---- ten options and worked steps: (combination, question, steps, answer, other options) ----

def p_math(rng):
    """A sum of two numbers, which are themselves among the options only as its result."""
    what, asked, answer = two_numbers(rng)
    others = [n for i, n in enumerate(NUMBERS) if i not in (what[0], abs(what[1]))]
    return what, f"What is {asked}?", f"{asked} is {answer}.", answer, others


def p_history(rng):
    """Where somebody lives, and what that town has."""
    who, what = pick(rng, PEOPLE), pick(rng, ("river", "king"))
    town = PEOPLE_OF[who]["town"]
    answer = TOWNS_OF[town][what]
    return ((who, what), f"What is the {what} of the town of {who}?",
            f"The town of {who} is {town}. The {what} of {town} is {answer}.", answer, TOWN[what])


def p_law(rng):
    """A stated fact about a town."""
    where, what = pick(rng, TOWNS), pick(rng, list(TOWN))
    answer = TOWNS_OF[where][what]
    return ((where, what), f"What is the {what} of {where}?",
            f"The {what} of {where} is {answer}.", answer,
            [*TOWN[what], *(SETS["fruit"] if len(TOWN[what]) < 10 else ())])


def p_person(what):
    """A stated fact about a person."""
    def draw(rng):
        who = pick(rng, PEOPLE)
        answer = PEOPLE_OF[who][what]
        return ((who, what), f"What is the {what} of {who}?",
                f"The {what} of {who} is {answer}.", answer, PERSON[what])
    return draw


PRO = {"math": p_math, "history": p_history, "law": p_law, "business": p_person("job"),
       "biology": p_person("pet")}


def pro_question(rng, category, split="train"):
    """{"question", "options" [10], "answer_index", "cot_content", "category"}; cot_content begins
    as MMLU-Pro's does."""
    while True:
        what, text, steps, answer, others = PRO[category](rng)
        if split_of("pro", category, what) == split:
            break
    choices = choose(rng, answer, others, 10)
    at = choices.index(answer)
    return {"question": text, "options": choices, "answer": LETTERS[at], "answer_index": at,
            "cot_content": f"A: Let's think step by step. {steps} The answer is ({LETTERS[at]}).",
            "category": category}


# ---- prompts, as lm-evaluation-harness writes them ----

def mmlu_description(subject):
    return ("The following are multiple choice questions (with answers) about "
            f"{subject.replace('_', ' ')}.\n\n")


def mmlu_prompt(q):
    options = "".join(f"{letter}. {c}\n" for letter, c in zip(LETTERS, q["choices"]))
    return f"{q['question']}\n{options}Answer:"


def pro_description(category):
    return ("The following are multiple choice questions (with answers) about "
            f"{category}. Think step by step and then finish your answer with \"the answer is "
            "(X)\" where X is the correct letter choice.\n")


def pro_prompt(q):
    options = "".join(f"{letter}. {c}\n" for letter, c in zip(LETTERS, q["options"]))
    return f"Question:\n{q['question']}\nOptions:\n{options}Answer: Let's think step by step."


def pro_target(q):
    return q["cot_content"].removeprefix("A: Let's think step by step.")


def make_mmlu(rng, subject, split, shots):
    parts = [("text", mmlu_description(subject), 0.0)]
    for i in range(shots + 1):
        q = question(rng, subject, split)
        parts += [("text", mmlu_prompt(q), 0.0), ("text", " " + LETTERS[q["answer"]], ANSWER),
                  ("text", "<eos>" if i == shots else "\n\n", 0.0)]
    return parts


def make_pro(rng, category, split, shots):
    parts = [("text", pro_description(category), 0.0)]
    for i in range(shots + 1):
        q = pro_question(rng, category, split)
        parts += [("text", pro_prompt(q), 0.0), ("text", pro_target(q)[:-3], 1.0),
                  ("text", pro_target(q)[-3:], ANSWER),
                  ("text", "<eos>" if i == shots else "\n\n", 1.0 if i == shots else 0.0)]
    return parts


def make_copy(rng, split):
    """Curriculum: which letter stands before the word, and which word behind the letter."""
    values = pick(rng, [*SETS.values(), PEOPLE, TOWNS, NUMBERS, RIVERS, KINGS, TOWN["bird"]])
    most = 4 if rng.random() < 0.7 else 10
    parts = []
    for _ in range(int(rng.integers(1, 7))):
        choices = some(rng, values, most)
        at = int(rng.integers(len(choices)))
        if rng.random() < 0.7:
            text, answer = f"Which option is {choices[at]}?", LETTERS[at]
        else:
            text, answer = f"What is option {LETTERS[at]}?", choices[at]
        q = {"question": text, "choices": choices}
        parts += [("text", mmlu_prompt(q), 0.0), ("text", " " + answer, ANSWER),
                  ("text", "\n\n", 0.0)]
    return parts


# ---- the world, stated ----

def make_sums(rng, split):
    """Sums of two numbers in words: all of them, as facts are."""
    parts = []
    for _ in range(int(rng.integers(6, 12))):
        _, asked, answer = two_numbers(rng)
        parts += [("text", f"{asked} is", 0.0), ("text", f" {answer}.", 2.0), ("text", "\n", 0.0)]
    return parts[:-1]


def person_lines(rng, who):
    lines = []
    for what in some(rng, list(PERSON), len(PERSON)):
        v = PEOPLE_OF[who][what]
        lines.append(f"The {what} of {who} is {v}.")
    return lines


def make_facts(rng, split):
    """Lists of stated facts, and the age groups."""
    style = rng.random()
    if style < 0.45:
        text = " ".join(" ".join(some(rng, person_lines(rng, p), 3)) for p in some(rng, PEOPLE, 3))
    elif style < 0.7:
        text = " ".join(f"The {what} of {t} is {TOWNS_OF[t][what]}."
                        for t in some(rng, TOWNS, 3) for what in some(rng, list(TOWN), 3))
    elif style < 0.85:
        people = some(rng, PEOPLE, 6)
        text = " ".join(f"{p} was born in the year {NUMBERS[12 - AGE[p]]}." for p in people)
    else:
        people = sorted(some(rng, PEOPLE, 6), key=lambda p: -AGE[p])
        text = " ".join(f"{a} was born before {b}." for a, b in zip(people, people[1:])
                        if AGE[a] > AGE[b])
    return [("text", text + "<eos>", 0.5)]


def d_prose(rng):
    """A visit: who goes where, whom they meet (facts), what they see and have there (chance)."""
    who, friend = some(rng, PEOPLE, 2)
    me, other, town = PEOPLE_OF[who], PEOPLE_OF[friend], PEOPLE_OF[friend]["town"]

    def thing():
        return f"{pick(rng, SETS['color'])} {pick(rng, THINGS)}"
    day = pick(rng, ("One day", "One day", "The next day", "In the evening"))
    there = [
        f"{friend} is a {other['job']} and works with the {other['tool']}.",
        f"{pick(rng, ('They', who, friend))} sit by the {pick(rng, ('window', 'river', 'lamp'))} "
        f"and eat the {pick(rng, SETS['fruit'])}.",
        f"The {other['pet']} of {friend} sleeps {pick(rng, ('on the floor', 'by the window'))}.",
        f"{pick(rng, (who, friend))} has a {thing()} and {pick(rng, NUMBERS[2:10])} "
        f"{pick(rng, THINGS)}s.",
        f"They hear a {pick(rng, TOWN['bird'])} and a {pick(rng, SETS['animal'])}.",
        f"The {pick(rng, SETS['job'])} of {town} has a {pick(rng, SETS['metal'])} "
        f"{pick(rng, SETS['tool'])}."]
    there = " ".join(some(rng, there, 4))
    return (f"{who} is a {me['job']} and lives in {me['town']}. {day} {who} walks along the river "
            f"{TOWNS_OF[town]['river']} to {town} to see {friend}. {there} In the evening {who} "
            f"walks home with a {thing()} and is glad.")


def d_code(rng):
    """A function with a loop, and what it is for."""
    name, over = pick(rng, ("total", "count", "last", "most")), pick(rng, THINGS)
    body = {"total": f"        {name} = {name} + {over}\n",
            "count": f"        {name} = {name} + 1\n",
            "last": f"        {name} = {over}\n",
            "most": f"        if {over} > {name}:\n            {name} = {over}\n"}[name]
    start = int(rng.integers(10))
    return (f"def {name}_of_{over}s({over}s):\n    {name} = {start}\n    for {over} in {over}s:\n"
            f"{body}    return {name}\n")


def d_arithmetic(rng):
    """Sums in digits, worked from the last digit to the first."""
    lines = []
    for _ in range(int(rng.integers(2, 4))):
        a, b = (int(v) for v in rng.integers(10, 90, 2))
        x, y = a % 10 + b % 10, a // 10 + b // 10
        lines.append(f"{a} + {b}: {a % 10} + {b % 10} = {x}, {a // 10} + {b // 10} = {y}, "
                     f"{a} + {b} = {a + b}\n")
    return "".join(lines)


def d_table(rng):
    """Rows about people, some of whose cells are known facts."""
    columns = some(rng, list(PERSON), 3)
    rows = "".join(f"| {p} | " + " | ".join(PEOPLE_OF[p][c] for c in columns) + " |\n"
                   for p in some(rng, PEOPLE, int(rng.integers(3, 6))))
    return f"| name | {' | '.join(columns)} |\n|---|---|---|---|\n{rows}"


DOMAIN = {"prose": d_prose, "code": d_code, "arithmetic": d_arithmetic, "table": d_table}


def domain(rng, name, split="train"):
    """A text of that sort; which of them are for training is said by the text's own hash."""
    while True:
        text = DOMAIN[name](rng)
        if split_of(name, text) == split:
            return text


# ---- chat and tools, as Gemma 4's template renders them ----

QUOTE = '<|"|>'
THINK_OFF = "<|turn>model\n<|channel>thought\n<channel|>"
TOOLS = {   # name: description, parameters in the template's order, how a request is worded
    "get_weather": ("Weather of a town", ("town",), "What is the weather in {town}?"),
    "find_person": ("Finds a person", ("name",), "Where can I find {name}?"),
    "send_letter": ("Sends a letter", ("name", "town"), "Send a letter to {name} in {town}."),
    "buy_thing": ("Buys a thing", ("count", "thing"), "Buy {count} {thing}s for me."),
    "set_lamp": ("Sets a lamp", ("color",), "Make the lamp {color}."),
    "add_numbers": ("Adds two numbers", ("a", "b"), "Add {a} and {b}."),
}
ARGUMENTS = {"town": TOWNS, "name": PEOPLE, "thing": [t for t in THINGS if t != "fox"],
             "color": SETS["color"], "count": range(2, 10), "a": range(1, 100), "b": range(1, 100)}


def tool_schema(name):
    """The declaration as the chat request's JSON has it."""
    text, parameters, _ = TOOLS[name]
    kinds = {p: "integer" if isinstance(ARGUMENTS[p], range) else "string" for p in parameters}
    return {"type": "function", "function": {"name": name, "description": text, "parameters": {
        "type": "object", "properties": {p: {"type": k} for p, k in kinds.items()},
        "required": list(parameters)}}}


def declaration(name):
    f = tool_schema(name)["function"]
    props = f["parameters"]["properties"]
    inner = ",".join(f"{p}:{{type:{QUOTE}{v['type'].upper()}{QUOTE}}}" for p, v in props.items())
    need = ",".join(QUOTE + p + QUOTE for p in props)
    return (f"<|tool>declaration:{name}{{description:{QUOTE}{f['description']}{QUOTE},parameters:"
            f"{{properties:{{{inner}}},required:[{need}],type:{QUOTE}OBJECT{QUOTE}}}}}<tool|>")


def tool_call(rng, split="train"):
    """{"tools", "user", "name", "arguments", "prompt", "call"}: prompt and call as rendered."""
    while True:
        names = some(rng, list(TOOLS), int(rng.integers(1, 4)))
        name = pick(rng, names)
        args = {p: pick(rng, ARGUMENTS[p]) for p in TOOLS[name][1]}
        if split_of("tool", name, sorted(args.items()), names) == split:
            break
    user = TOOLS[name][2].format(**args)
    inner = ",".join(f"{p}:{v}" if isinstance(v, int) else f"{p}:{QUOTE}{v}{QUOTE}"
                     for p, v in sorted(args.items()))
    system = "".join(declaration(n) for n in names)
    return {"tools": [tool_schema(n) for n in names], "user": user, "name": name,
            "arguments": args,
            "prompt": f"<|turn>system\n{system}<turn|>\n<|turn>user\n{user}<turn|>\n{THINK_OFF}",
            "call": f"<|tool_call>call:{name}{{{inner}}}<tool_call|>"}


def make_tool(rng, split):
    t = tool_call(rng, split)
    return [("text", t["prompt"], 0.0), ("text", t["call"] + "<|tool_response>", 0.7)]


def chat_turn(rng, split="train"):
    """(user, answer) of a short question in plain words."""
    subject = pick(rng, ("facts", "sums"))
    while True:
        what, text, answer, _ = QUESTIONS[subject](rng)
        if split_of(subject, what) == split:
            break
    if subject == "facts":
        who, what = what
        return text, f"The {what} of {who} is {answer}."
    return text, f"It is {answer}."


def make_chat(rng, split):
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        user, answer = chat_turn(rng, split)
        # The template leaves the empty thought out of turns that are past.
        parts += [("text", f"<|turn>user\n{user}<turn|>\n{THINK_OFF}", 0.0),
                  ("text", f"{answer}<turn|>", 1.0), ("text", "\n", 0.0)]
    return parts[:-1]


KINDS = ("copy", "facts", "sums", "chat", "tool", *(f"mmlu/{s}" for s in SUBJECTS),
         *(f"pro/{c}" for c in CATEGORIES), *(f"domain/{d}" for d in DOMAINS))


def make(rng, kind, split="train", shots=None):
    head, _, name = kind.partition("/")
    if shots is None:
        shots = int(rng.integers(6))
    if head == "mmlu":
        parts = make_mmlu(rng, name, split, shots)
    elif head == "pro":
        parts = make_pro(rng, name, split, shots)
    elif head == "domain":
        parts = [("text", domain(rng, name, split) + "<eos>", 0.3)]
    else:
        parts = {"copy": make_copy, "facts": make_facts, "sums": make_sums, "chat": make_chat,
                 "tool": make_tool}[head](rng, split)
    return {"kind": kind, "parts": parts}
