#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the chat renderer in ref/input with Jinja2 running Google's template.

    golden/check_chat.py --edition april --template SOURCE [--count 400] [--seed 1]
                         [--write harness/check/data/chat/april.jsonl --keep 24]

SOURCE is a .jinja file, a checkpoint's tokenizer_config.json, or the source
package of llama-cpp-python (.tar.gz), which carries llama.cpp's copy of the April
edition.  Compiles harness/peer/render_chat.c (CC, default cc; needs jansson),
renders random conversations both ways and compares the bytes, the places of the
media placeholders, and that the calls in the prompt are read back as they were.
Jinja2 is set up as Transformers 5.20.2 does it (utils/chat_template_utils.py).
--write keeps some of the cases with Jinja2's text for check_chat.c.
Needs Python >= 3.9 and jinja2 >= 3.1; the template itself is never stored here.
"""
import argparse
import json
import math
import os
import random
import struct
import subprocess
import sys
import tarfile
import tempfile

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EDITIONS = ["april", "may", "july"]
IN_PACKAGE = "vendor/llama.cpp/models/templates/google-gemma-4-31B-it.jinja"
KINDS = {"image": 1, "video": 2, "audio": 3}
MARK = {kind: "<|%s|>" % kind for kind in KINDS}


def load_template(path):
    if path.endswith(".gz"):
        with tarfile.open(path) as tar:
            name = next(n for n in tar.getnames() if n.endswith(IN_PACKAGE))
            return tar.extractfile(name).read().decode()
    with open(path, encoding="utf-8") as f:
        return json.load(f)["chat_template"] if path.endswith(".json") else f.read()


def environment():
    def raise_exception(message):
        raise TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[loopcontrols])
    env.filters["tojson"] = lambda x, **kw: json.dumps(x, ensure_ascii=False, **kw)
    env.globals["raise_exception"] = raise_exception
    return env


# ---- random conversations ---------------------------------------------------

WORDS = ["hello", "Grüße", "naïve café", "你好，世界", "🙂👩‍👩‍👧", "x < y & z > w", "'quoted'",
         '"double"', "back\\slash", "tab\there", "line\nbreak", "{curly}", "[a,b]", "a:b", "%s",
         "Привет", "ﬃ", "İstanbul", "\u2028", "zero\u200bwidth", "<b>html</b>", "0", "None",
         "<|channel>", "<channel|>", "thought\n", "<turn|>", "<|image|>", "▁▁", "{{ jinja }}"]
SPACES = ["", "", "", " ", "\n", "\t \n", "\u00a0", "\u3000 ", "\x1f", "\r\n", "\u200b", "\u2003"]
KEYS = ["city", "City", "CITY", "b", "A", "a", "_x", "type", "description", "unit", "Ärger",
        "ärger", "Zeta", "zeta", "Ωmega", "ωmega", "Жук", "жук", "10", "9", "items", "required",
        "properties",
        "nullable", "enum", "ƁƂ", "ɓƃ", "İ", "ı", "Ǆ", "𐐀", "𐐨", "with space", "x-y", "ẞ", "ß"]


class Maker:
    def __init__(self, seed, edition):
        self.r = random.Random(seed)
        self.edition = edition

    def chance(self, p):
        return self.r.random() < p

    def text(self, most=4):
        body = self.r.choice(["", " ", ", "]).join(
            self.r.choice(WORDS) for _ in range(self.r.randint(0, most)))
        return self.r.choice(SPACES) + body + self.r.choice(SPACES)

    def number(self):
        r = self.r
        kind = r.randint(0, 6)
        if kind == 0:
            return r.randint(-10, 10)
        if kind == 1:
            return r.choice([2**53, -2**63, 2**63 - 1, 0])
        if kind == 2:
            return r.choice([0.0, -0.0, 1.0, 1e16, 1e15, 123456789012345680.0, 1e-4, 1e-5, 0.1,
                             1.5, 2.5e-7, 5e-324, 1.7976931348623157e308, 9007199254740993.0])
        if kind == 3:
            return math.ldexp(1.0, r.randint(-1074, 1023))
        if kind == 4:
            while True:
                d = struct.unpack("<d", struct.pack("<Q", r.getrandbits(64)))[0]
                if math.isfinite(d):
                    return d
        return round(r.uniform(-1000, 1000), r.randint(0, 6))

    def value(self, depth=0):
        kind = self.r.randint(0, 8 if depth < 3 else 5)
        if kind <= 1:
            return self.text()
        if kind == 2:
            return self.number()
        if kind == 3:
            return self.chance(0.5)
        if kind == 4:
            return None
        if kind == 5:
            return ""
        if kind <= 7:
            return self.mapping(depth + 1)
        return [self.value(depth + 1) for _ in range(self.r.randint(0, 3))]

    def mapping(self, depth=0):
        keys = self.r.sample(KEYS, self.r.randint(0, 5))
        return {k: self.value(depth) for k in keys}

    def schema(self, depth=0):
        r, s = self.r, {}
        kind = r.choice(["string", "STRING", "integer", "number", "boolean", "array", "Array",
                         "object", "object", "null", ["string", "null"], None, "missing"])
        if depth >= 3 and kind in ("object", "array", "Array"):
            kind = "string"
        if kind != "missing":
            s["type"] = kind
        if self.chance(0.6):
            s["description"] = r.choice([self.text(), "", None, 7, True, ["a", "b'c"]])
        if self.chance(0.4):
            s["enum"] = r.choice([["a", "b"], [], [1, None, True, "x"], [{"K": 1, "a": 2}]])
        if self.chance(0.3):
            s["nullable"] = r.choice([True, False, None])
        if self.chance(0.2):
            s[r.choice(["default", "minimum", "additionalProperties", "title"])] = r.choice(
                [False, 3, "text", {"type": "string"}, None, self.schema(depth + 1)])
        if kind in ("array", "Array") and self.chance(0.8):
            s["items"] = r.choice([{}, None, self.items(depth + 1), self.items(depth + 1)])
        if kind == "object" and self.chance(0.75):
            s["properties"] = self.properties(depth + 1)
            if self.chance(0.6):
                s["required"] = r.sample(KEYS, r.randint(0, 3))
        pairs = list(s.items())
        r.shuffle(pairs)
        return dict(pairs)

    def items(self, depth):
        s = self.schema(depth)
        s.pop("required", None)
        if "type" in s and s["type"] is None and self.chance(0.5):
            del s["type"]
        if self.chance(0.3):
            s["required"] = self.r.choice([["a", "b"], None, []])
        if self.chance(0.2):
            s["properties"] = self.r.choice([self.properties(depth + 1), [], None])
        return s

    def properties(self, depth=0):
        keys = self.r.sample(KEYS, self.r.randint(0, 5))
        return {k: self.schema(depth) if self.chance(0.95) else self.r.choice(["string", 1, None])
                for k in keys}

    def tool(self, i):
        f = {"name": "%s_%d" % (self.r.choice(["get", "Set", "größe"]), i)}
        if self.chance(0.9):
            f["description"] = self.r.choice([self.text(), self.text(), ""])
        if self.chance(0.85):
            p = self.r.choice([{}, None, 0, 0, 0])
            if p == 0:
                p = {"properties": self.properties()}
                if self.chance(0.85):
                    p["type"] = self.r.choice(["object", "OBJECT"])
                if self.chance(0.6):
                    p["required"] = self.r.sample(KEYS, self.r.randint(0, 3))
            f["parameters"] = p
        if self.chance(0.25):
            f["response"] = self.r.choice([{}, None, {"type": "object", "description": self.text()},
                                           {"type": "string", "description": self.text()},
                                           {"type": "Object"}])
        return {"type": "function", "function": f}

    def part(self, media=True):
        kind = self.r.choice(["text"] * 3 + list(KINDS)) if media else "text"
        if kind == "text":
            return {"type": "text", "text": self.text()}
        part = {"type": kind}
        if self.chance(0.5):
            part[self.r.choice(["path", "url", kind])] = "%s %d.bin" % (kind, self.r.randint(0, 99))
        return part

    def content(self, media=True):
        if self.chance(0.6):
            return self.text()
        return [self.part(media) for _ in range(self.r.randint(0, 4))]

    def assistant(self, out):
        r = self.r
        m = {"role": r.choice(["assistant", "assistant", "assistant", "model"])}
        if self.chance(0.75):
            m["content"] = r.choice([self.content(), self.content(), None, "", "  "])
        if self.chance(0.3):
            m[r.choice(["reasoning", "reasoning_content"])] = r.choice([self.text(), "", None])
        ids = []
        if self.chance(0.5):
            m["tool_calls"] = []
            for i in range(r.randint(0, 3)):
                f = {"name": "tool_%d" % r.randint(0, 5)}
                if self.edition == "july" or self.chance(0.95):
                    text = self.edition != "july" and self.chance(0.15)
                    f["arguments"] = json.dumps(self.mapping()) if text else self.mapping()
                    if self.chance(0.05):
                        f["arguments"] = None
                call = {"function": f}
                if self.chance(0.8):
                    call["id"] = "call_%d" % r.randint(0, 3)
                    ids.append(call["id"])
                m["tool_calls"].append(call)
        if self.chance(0.15):
            m["tool_responses"] = [self.legacy() for _ in range(r.randint(0, 2))]
        out.append(m)
        if m.get("tool_calls") and self.chance(0.8):
            for _ in range(r.randint(1, 3)):
                out.append(self.result(ids))

    def legacy(self):
        entry = {"response": self.value()}
        if self.chance(0.8):
            entry["name"] = self.r.choice(["tool_1", ""])
        return entry

    def result(self, ids):
        m = {"role": "tool", "content": self.r.choice([self.value(1), self.text()])}
        if isinstance(m["content"], list) or m["content"] == {} or self.chance(0.2):
            m["content"] = [self.part(self.edition != "april") for _ in range(self.r.randint(0, 3))]
        if ids and self.chance(0.8):
            m["tool_call_id"] = self.r.choice(ids + ["elsewhere"])
        if self.chance(0.7):
            m["name"] = self.r.choice(["named", "named_2"])
        return m

    def case(self):
        r, messages = self.r, []
        if self.chance(0.5):
            messages.append({"role": r.choice(["system", "developer"]),
                             "content": self.text() if self.chance(0.8) else
                             [self.part(False) for _ in range(r.randint(0, 3))]})
        for _ in range(r.randint(1, 5)):
            kind = r.random()
            if kind < 0.45:
                messages.append({"role": "user", "content": self.content()})
            elif kind < 0.9:
                self.assistant(messages)
            elif kind < 0.95:
                messages.append({"role": r.choice(["system", "developer"]), "content": self.text()})
            else:
                messages.append({"role": "tool", "content": self.text(), "name": "lost"})
        case = {"edition": EDITIONS.index(self.edition), "thinking": r.choice([-1, 0, 1]),
                "generation_prompt": self.chance(0.8), "messages": messages}
        if self.edition == "july":
            case["preserve_thinking"] = self.chance(0.3)
        if self.chance(0.4):
            case["tools"] = [self.tool(i) for i in range(r.randint(0, 3))]
        return case


# ---- the two renderings -----------------------------------------------------

def jinja_render(template, case):
    more = {} if case["thinking"] < 0 else {"enable_thinking": bool(case["thinking"])}
    if "preserve_thinking" in case:
        more["preserve_thinking"] = case["preserve_thinking"]
    return template.render(messages=case["messages"], tools=case.get("tools"), documents=None,
                           add_generation_prompt=case["generation_prompt"], bos_token="<bos>",
                           **more)


def without_empty_thought(text):
    """The template of E2B and E4B: the same but for the last line of its last block."""
    inner = "{{- '<|channel>thought\\n<channel|>' -}}"
    assert text.count(inner) == 1
    return text.replace(inner, "")


def compile_driver(folder):
    base = ["ref/base/%s.c" % n for n in ("json", "map", "err", "arena")]
    chat = sorted("ref/input/" + n for n in os.listdir(os.path.join(ROOT, "ref/input"))
                  if n.startswith("chat") and n.endswith(".c"))
    exe = os.path.join(folder, "render_chat")
    cmd = [os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-I.", "-o", exe]
    cmd += os.environ.get("CFLAGS", "").split() + ["harness/peer/render_chat.c"] + chat + base
    subprocess.run(cmd + ["-ljansson"], cwd=ROOT, check=True)
    return exe


def run_driver(exe, requests):
    lines = "".join(json.dumps(q, ensure_ascii=False) + "\n" for q in requests)
    done = subprocess.run([exe], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    assert len(answers) == len(requests), "the driver answered %d of %d" % (len(answers),
                                                                            len(requests))
    return answers


def expected_media(case):
    """Kinds of the media in the order of the prompt (a result's media behind its calls)."""
    out, messages = [], case["messages"]
    first = 1 if messages[0]["role"] in ("system", "developer") else 0

    def parts(message):
        content = message.get("content")
        listed = content if isinstance(content, list) else []
        return [p["type"] for p in listed if p["type"] in KINDS]

    for i in range(first, len(messages)):
        m = messages[i]
        if m["role"] == "tool":
            continue
        k = i + 1
        while m.get("tool_calls") and not m.get("tool_responses") and k < len(messages) and (
                messages[k]["role"] == "tool"):
            out += parts(messages[k])
            k += 1
        out += parts(m)
    return out


def check_media(case, answer):
    text = answer["text"].encode()
    kinds = expected_media(case)
    assert [m[0] for m in answer["media"]] == [KINDS[k] for k in kinds], "kinds of media differ"
    for (_, offset, _), kind in zip(answer["media"], kinds):
        mark = MARK[kind].encode()
        assert text[offset:offset + len(mark)] == mark, "no placeholder at %d" % offset
    every = sum(text.count(m.encode()) for m in MARK.values())
    assert every == len(kinds) + answer["stray"], "strays are miscounted"


def check_calls(exe, seed, edition):
    """What the template prints for a call must be read back as what it was."""
    maker, requests, wanted = Maker(seed, edition), [], []
    plain = ["k%d" % i for i in range(9)] + ["City", "city", "naïve", "with space"]
    for _ in range(300):
        def clean(v):
            if isinstance(v, dict):
                return {maker.r.choice(plain): clean(x) for x in v.values()}
            if isinstance(v, list):
                return [clean(x) for x in v]
            return v
        calls = [{"name": "tool_%d" % i, "arguments": clean(maker.mapping())} for i in range(2)]
        thinking = maker.r.choice(["", "a thought", "two\nlines"])
        requests.append({"messages": [{"role": "user", "content": "x"},
                                      {"role": "assistant", "reasoning": thinking,
                                       "tool_calls": [{"function": c} for c in calls]}],
                         "thinking": 1, "generation_prompt": False,
                         "edition": EDITIONS.index(edition)})
        wanted.append((thinking, calls))
    prompts = [a["text"].split("<|turn>model\n")[1] for a in run_driver(exe, requests)]
    answers = run_driver(exe, [{"answer": p} for p in prompts])
    for prompt, answer, (thinking, calls) in zip(prompts, answers, wanted):
        if answer.get("errors") != [] or answer["thinking"] != thinking or (
                repr(sort_keys(answer["tool_calls"])) != repr(sort_keys(calls))):
            print("read back wrongly: %r\n  %r\n  %r" % (prompt, answer, calls))
            return 1
    return 0


def sort_keys(v):
    if isinstance(v, dict):
        return {k: sort_keys(v[k]) for k in sorted(v)}
    return [sort_keys(x) for x in v] if isinstance(v, list) else v


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--edition", choices=EDITIONS, required=True)
    ap.add_argument("--template", required=True)
    ap.add_argument("--count", type=int, default=400)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--write")
    ap.add_argument("--keep", type=int, default=24)
    args = ap.parse_args()
    source = load_template(args.template)
    env = environment()
    templates = {1: env.from_string(source), 0: env.from_string(without_empty_thought(source))}

    maker, cases, texts = Maker(args.seed, args.edition), [], []
    refused = 0
    while len(cases) < args.count:
        case = maker.case()
        case["empty_thought"] = int(not maker.chance(0.1))
        try:
            text = jinja_render(templates[case["empty_thought"]], case)
        except (TypeError, TemplateError):   # the template cannot do this one; nor must we
            text = None
            refused += 1
        cases.append(case)
        texts.append(text)
    with tempfile.TemporaryDirectory() as folder:
        exe = compile_driver(folder)
        answers = run_driver(exe, cases)
        bad = check_calls(exe, args.seed, args.edition)
    for i, (case, text, answer) in enumerate(zip(cases, texts, answers)):
        try:
            assert answer.get("text") == text, "texts differ"
            if text is not None:
                check_media(case, answer)
        except AssertionError as e:
            bad += 1
            if bad <= 3:
                print("case %d: %s\n%s\n jinja %r\n ours  %r" % (
                    i, e, json.dumps(case, ensure_ascii=False), text, answer))
    if args.write:
        kept = sorted((len(json.dumps(c)), i) for i, (c, t) in enumerate(zip(cases, texts)) if t)
        step = max(1, len(kept) // args.keep)
        with open(args.write, "w", encoding="utf-8") as f:
            for _, i in kept[::step][:args.keep]:
                line = dict(cases[i], text=texts[i],
                            media=[[m[0], m[1]] for m in answers[i]["media"]],
                            stray=answers[i]["stray"])
                f.write(json.dumps(line, ensure_ascii=False) + "\n")
    print("chat template, %s edition: %d conversations, %d refused by Jinja2 and by us, %d differ; "
          "300 answers read back" % (args.edition, len(cases), refused, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
