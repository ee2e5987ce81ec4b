# SPDX-License-Identifier: Apache-2.0
"""Random conversations for golden/check_chat.py: everything the template has a
branch for, in any order, and what people get wrong."""
import json
import math
import random
import struct

EDITIONS = ["april", "april28", "may", "july"]   # in the order of g4_chat_edition
KINDS = {"image": 1, "video": 2, "audio": 3}
ALIAS = {"image": "image_url", "audio": "input_audio"}   # July's template knows them too

WORDS = ["hello", "Grüße", "naïve café", "你好，世界", "🙂👩‍👩‍👧", "x < y & z > w", "'quoted'",
         '"double"', "back\\slash", "tab\there", "line\nbreak", "{curly}", "[a,b]", "a:b", "%s",
         "Привет", "ﬃ", "İstanbul", "\u2028", "zero\u200bwidth", "<b>html</b>", "0", "None",
         "<|channel>", "<channel|>", "thought\n", "<turn|>", "<|image|>", "▁▁", "{{ jinja }}",
         "e\u0301", "عربي", "\u202eright\u202c", "\ufeff", "\U0010ffff", "\ufffe", "\x7f",
         "x" * 700]
SPACES = ["", "", "", " ", "\n", "\t \n", "\u00a0", "\u3000 ", "\x1f", "\r\n", "\u200b", "\u2003",
          "\x0b\x0c\x1c\x1d\x1e", "\x85", "\u1680", "\u2000\u200a", "\u2028\u2029",
          "\u202f\u205f", "\u180e", "\u2060"]
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
        if depth >= 5 and kind in ("object", "array", "Array"):
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
                s["required"] = r.sample(KEYS, r.randint(0, 3)) + r.choice([[], [], [1, None]])
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
            f["description"] = self.r.choice([self.text(), self.text(), "", None, 7])
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
        if self.chance(0.1):
            f["strict"] = True
        return {"type": "function", "function": f}

    def part(self, media=True):
        kind = self.r.choice(["text"] * 3 + list(KINDS)) if media else "text"
        if kind == "text":
            return {"type": "text", "text": self.text()}
        part = {"type": kind}
        if self.chance(0.5):
            part[self.r.choice(["path", "url", kind])] = "%s %d.bin" % (kind, self.r.randint(0, 99))
        elif self.edition == "july" and kind in ALIAS and self.chance(0.5):
            part = {"type": ALIAS[kind], ALIAS[kind]: {"url": "file:///%s.bin" % kind}}
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
            drops_media = self.edition.startswith("april")
            m["content"] = [self.part(not drops_media or self.chance(0.1))
                            for _ in range(self.r.randint(0, 3))]
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
                             [self.part(self.chance(0.05)) for _ in range(r.randint(0, 3))]})
        for _ in range(r.randint(1, 5)):
            kind = r.random()
            if kind < 0.45:
                messages.append({"role": "user", "content": self.content()})
                if self.chance(0.1):   # the template looks at neither
                    messages[-1][r.choice(["name", "weight"])] = self.text()
                if self.chance(0.01):
                    messages[-1]["content"] = None
            elif kind < 0.9:
                self.assistant(messages)
            elif kind < 0.95:
                messages.append({"role": r.choice(["system", "developer"]),
                                 "content": self.content()})
            else:
                messages.append({"role": "tool", "content": self.text(), "name": "lost"})
        case = {"edition": EDITIONS.index(self.edition), "thinking": r.choice([-1, 0, 1]),
                "generation_prompt": self.chance(0.8), "messages": messages}
        if self.edition == "july":
            case["preserve_thinking"] = self.chance(0.3)
        if self.chance(0.4):
            case["tools"] = [self.tool(i) for i in range(r.randint(0, 3))]
        return case
