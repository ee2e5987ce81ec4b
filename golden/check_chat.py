#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the chat renderer in ref/input with Jinja2 running Google's template.

    golden/check_chat.py --edition april --template SOURCE [--count 1000] [--seed 1]
                         [--write harness/check/data/chat/april.jsonl --keep 24]

SOURCE is a .jinja file, a checkpoint's tokenizer_config.json, trl's wheel (.whl),
which carries every edition as E2B has it, or the source package of llama-cpp-python
(.tar.gz), which carries April's as 31B has it.  Compiles harness/peer/render_chat.c
(CC, default cc; needs jansson), renders random conversations both ways and compares
the bytes and the places of the media placeholders; that the edition is told from the
template; that calls in a prompt are read back as they were, and damaged ones reported.
Jinja2 is set up as Transformers 5.20.2 does it (utils/chat_template_utils.py).
--write keeps some of the cases with Jinja2's text for check_chat.c.
Needs Python >= 3.9 and jinja2 >= 3.1; the template itself is never stored here.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chat_cases import ALIAS, EDITIONS, KEYS, KINDS, Maker

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IN_LLAMA = "vendor/llama.cpp/models/templates/google-gemma-4-31B-it.jinja"
IN_TRL = {"april": "gemma4_v3", "april28": "gemma4", "may": "gemma4_v4", "july": "gemma4_v5"}
MARK = {kind: "<|%s|>" % kind for kind in KINDS}


def load_template(path, edition):
    if path.endswith(".gz"):
        with tarfile.open(path) as tar:
            name = next(n for n in tar.getnames() if n.endswith(IN_LLAMA))
            return tar.extractfile(name).read().decode()
    if path.endswith(".whl"):
        with zipfile.ZipFile(path) as wheel:
            return wheel.read("trl/chat_templates/%s.jinja" % IN_TRL[edition]).decode()
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

# ---- the two renderings -----------------------------------------------------

def jinja_render(template, case):
    more = {} if case["thinking"] < 0 else {"enable_thinking": bool(case["thinking"])}
    if "preserve_thinking" in case:
        more["preserve_thinking"] = case["preserve_thinking"]
    return template.render(messages=case["messages"], tools=case.get("tools"), documents=None,
                           add_generation_prompt=case["generation_prompt"], bos_token="<bos>",
                           **more)


def both_kinds(text):
    """The template as E2B and E4B have it, and as the others do: with an empty thought
    in a generation prompt without thinking.  Nothing else differs."""
    inner = "{{- '<|channel>thought\\n<channel|>' -}}"
    turn = "{{- '<|turn>model\\n' -}}\n"
    assert text.count(inner) <= 1 and text.count(turn) == 1
    if inner in text:
        return text.replace(inner, ""), text
    return text, text.replace(turn, turn + "{%- if not enable_thinking | default(false) -%}" +
                              inner + "{%- endif -%}\n")


def compile_driver(folder):
    sources = ["harness/peer/render_chat.c"]
    for part, begin in (("base", ""), ("dtype", ""), ("file", ""), ("input", "chat")):
        sources += sorted(f"ref/{part}/{n}" for n in os.listdir(os.path.join(ROOT, "ref", part))
                          if n.startswith(begin) and n.endswith(".c"))
    exe = os.path.join(folder, "render_chat")
    cmd = [os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-I.", "-o", exe]
    cmd += os.environ.get("CFLAGS", "").split() + sources
    subprocess.run(cmd + ["-ljansson", "-lm", "-lpthread"], cwd=ROOT, check=True)
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
    plain = {alias: kind for kind, alias in ALIAS.items()}

    def parts(message):
        content = message.get("content")
        listed = content if isinstance(content, list) else []
        kinds = [plain.get(p["type"], p["type"]) for p in listed]
        return [k for k in kinds if k in KINDS]

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


def refused_by_name(case, error):
    """What Jinja2 renders and we refuse, because the prompt would not say what the
    conversation says: media that the template drops, and content that is null."""
    def media(content):
        return isinstance(content, list) and any(p["type"] != "text" for p in content)
    messages = case["messages"]
    in_system = messages[0]["role"] in ("system", "developer") and media(messages[0]["content"])
    in_result = case["edition"] < EDITIONS.index("may") and any(
        m["role"] == "tool" and media(m["content"]) for m in messages)
    null = any(m["role"] == "user" and m["content"] is None for m in messages)
    return (in_system and "no media in the system turn" in error or
            in_result and "drops media in a tool's result" in error or
            null and "content is null, expected" in error)


# ---- answers ----------------------------------------------------------------

def damaged(r, text):
    """An answer that no reading can be right about: cut off inside a call, or one
    quote, brace or colon less (outside of strings)."""
    start = text.index("<|tool_call>") + 1
    if r.random() < 0.5:
        cut = r.randrange(start, text.rindex("<tool_call|>"))
        while text[:cut].endswith("<tool_call|>") or text[:cut].count("<|tool_call>") == (
                text[:cut].count("<tool_call|>")):
            cut += 1
        return text[:cut]
    pieces = re.split(r'(<\|"\|>)', text[start:])   # string, quote, string, quote...
    spots = []
    for i, piece in enumerate(pieces):
        if i % 2:
            spots.append((i, 0, len(piece)))
        elif i % 4 == 0:
            spots += [(i, m.start(), 1) for m in re.finditer(r"[{}\[\]:]", piece)]
    i, at, n = r.choice(spots)
    pieces[i] = pieces[i][:at] + pieces[i][at + n:]
    return text[:start] + "".join(pieces)


def check_calls(exe, seed, edition, count):
    """What the template prints for a call must be read back as what it was; a damaged
    answer must be reported."""
    maker, requests, wanted = Maker(seed, edition), [], []
    # A bare key ends at these; the template quotes none, so no answer can hold them.
    plain = [k for k in KEYS if not set(k) & set(":{},[]<")] + ["k%d" % i for i in range(9)]

    def clean(v):
        if isinstance(v, dict):
            return {maker.r.choice(plain): clean(x) for x in v.values()}
        return [clean(x) for x in v] if isinstance(v, list) else v

    for _ in range(count):
        calls = [{"name": "tool_%d" % i, "arguments": clean(maker.mapping())} for i in range(2)]
        thinking = maker.r.choice(["", "a thought", "two\nlines"])
        requests.append({"messages": [{"role": "user", "content": "x"},
                                      {"role": "assistant", "reasoning": thinking,
                                       "tool_calls": [{"function": c} for c in calls]}],
                         "thinking": 1, "generation_prompt": False,
                         "edition": EDITIONS.index(edition)})
        wanted.append((thinking, calls))
    prompts = [a["text"].split("<|turn>model\n")[1] for a in run_driver(exe, requests)]
    bad = 0
    for prompt, answer, (thinking, calls) in zip(
            prompts, run_driver(exe, [{"answer": p} for p in prompts]), wanted):
        if answer.get("errors") != [] or answer["thinking"] != thinking or (
                repr(sort_keys(answer["tool_calls"])) != repr(sort_keys(calls))):
            bad += 1
            if bad == 1:
                print("read back wrongly: %r\n  %r\n  %r" % (prompt, answer, calls))
    broken = [damaged(maker.r, p) for p in prompts]
    for text, answer in zip(broken, run_driver(exe, [{"answer": b} for b in broken])):
        if not answer.get("errors"):
            bad += 1
            print("not reported: %r\n  %r" % (text, answer))
    return bad


def sort_keys(v):
    if isinstance(v, dict):
        return {k: sort_keys(v[k]) for k in sorted(v)}
    return [sort_keys(x) for x in v] if isinstance(v, list) else v


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--edition", choices=EDITIONS, required=True)
    ap.add_argument("--template", required=True)
    ap.add_argument("--count", type=int, default=1000)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--write")
    ap.add_argument("--keep", type=int, default=24)
    args = ap.parse_args()
    env = environment()
    sources = both_kinds(load_template(args.template, args.edition))
    templates = [env.from_string(t) for t in sources]

    maker, cases, texts = Maker(args.seed, args.edition), [], []
    refused = named = 0
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
        told = run_driver(exe, [{"template": t} for t in sources])
        bad = check_calls(exe, args.seed, args.edition, args.count)
    number = EDITIONS.index(args.edition)
    if told != [{"edition": number, "empty_thought": i} for i in (0, 1)]:
        bad += 1
        print("taken for another edition: %r" % told)
    for i, (case, text, answer) in enumerate(zip(cases, texts, answers)):
        if text is not None and refused_by_name(case, answer.get("error", "")):
            named += 1
            continue
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
    print("chat template, %s edition: %d conversations, %d refused by both, %d by us alone and "
          "why; %d answers read back, as many damaged; %d differ" % (
              args.edition, len(cases), refused, named, args.count, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
