#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Examines the miniature with Transformers in float32: the accuracy table of its model card.

Nothing here is shared with training or with the C program but the papers themselves
(golden/mini_eval.py) and the drawing of pictures and sounds.  Prompts are lm-eval's, written again;
answers are the likeliest of " A" to " D", greedy text up to its end, or, of worked steps, what
lm-eval's regular expression finds.  Intervals are Wilson's at 95 %; of quantization, of the mean
of paired differences.
With --program the same papers go through `gemma4 eval --engine ref`, too: its rows follow, with
how many single questions it answers otherwise.
usage: check_miniature.py [--model golden/miniature] [--only sums,mmlu,pro,media,tools,draft,bits]
                          [--limit N] [--program build/gemma4] [--csv FILE]
"""
import argparse
import copy
import csv
import datetime
import glob
import hashlib
import json
import math
import os
import re
import subprocess
import tempfile

import hf_setup  # noqa: F401
import hf_model
import mini_media
import numpy as np
import torch
from hf_run import embed_video

HERE = os.path.dirname(os.path.abspath(__file__))
DRAFTED = 4      # tokens drafted a round
FIELDS = ["date", "commit", "cpu", "threads", "ram_gb", "model", "model_sha256", "engine", "case",
          "what", "value", "unit"]   # notebooks_data/README.md


def wilson(right, n, z=1.959964):
    p, d = right / n, 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    middle = (p + z * z / (2 * n)) / d
    return max(0.0, middle - half), min(1.0, middle + half)


def read_lines(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


class Table:
    """Rows for the CSV file, one number each, and Markdown on the way."""

    def __init__(self, folder):
        def first(pattern, path):
            with open(path, encoding="utf-8") as f:
                found = re.search(pattern, f.read(), re.M)
            return found[1].strip() if found else ""
        git = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=7"], cwd=HERE,
                             capture_output=True, text=True, check=False)
        self.head = [git.stdout.strip(), first(r"^model name[^:]*:(.*)$", "/proc/cpuinfo"),
                     torch.get_num_threads(),
                     round(int(first(r"^MemTotal:\s*(\d+)", "/proc/meminfo")) / 1e6),
                     os.path.basename(os.path.abspath(folder)), hf_model.weights_sha256(folder),
                     "transformers"]
        self.rows, self.right = [], {}

    def add(self, section, name, n, value, low, high, shots="", bits="", what="accuracy", unit=""):
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%FT%TZ")
        case = "/".join([section.removeprefix("gemma4: "), name] + [
            f"{v} {w}" for v, w in ((shots, "shots"), (bits, "bits")) if v != ""])
        for kind, v in ((what, value), (f"{what}_low", low), (f"{what}_high", high)):
            self.rows.append([date, *self.head, case, kind, repr(float(v)), unit])
        self.rows.append([date, *self.head, case, f"{what}_n", n, ""])
        print(f"| {section} | {name} | {shots} | {bits} | {n} | {value:.3f} | {low:.3f} to "
              f"{high:.3f} |", flush=True)

    def share(self, section, name, right, **kw):
        """right: one 0 or 1 for each question"""
        n, k = len(right), sum(right)
        self.right[section, name, kw.get("shots", ""), kw.get("bits", "")] = right
        if n:
            self.add(section, name, n, k / n, *wilson(k, n), **kw)


class Exam:
    """The model and its papers."""

    def __init__(self, folder, papers, limit):
        from transformers import AutoProcessor
        self.folder, self.papers, self.limit = folder, papers, limit
        self.model = hf_model.load_model(folder, torch.float32)
        self.proc = AutoProcessor.from_pretrained(folder)
        self.tok = self.proc.tokenizer
        config = self.model.config.get_text_config()
        self.cap, self.window = config.final_logit_softcapping, config.sliding_window
        g = self.model.generation_config.eos_token_id
        self.stops = set(g if isinstance(g, list) else [g])

    def ids(self, text):
        ids = self.tok(text, add_special_tokens=False).input_ids
        return [self.tok.bos_token_id, *ids]

    @torch.no_grad()
    def last_logits(self, prompts, batch_tokens=6000):
        """Logits behind each prompt; prompts of about the same length go together, padded at
        their ends, which nothing before them sees."""
        out, order = [None] * len(prompts), sorted(range(len(prompts)), key=lambda i:
                                                   -len(prompts[i]))
        while order:
            n = max(1, batch_tokens // len(prompts[order[0]]))
            group, order = order[:n], order[n:]
            ids = torch.zeros(len(group), len(prompts[group[0]]), dtype=torch.long)
            for row, i in zip(ids, group):
                row[:len(prompts[i])] = torch.tensor(prompts[i])
            hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
            at = torch.tensor([len(prompts[i]) - 1 for i in group])
            logits = self.model.lm_head(hidden[torch.arange(len(group)), at])
            for i, row in zip(group, self.cap * torch.tanh(logits / self.cap)):
                out[i] = row
        return out

    @torch.no_grad()
    def generate(self, prompts, tokens, stops, batch=25):
        """Greedy ids behind each prompt, padded in front, without the stop token."""
        out, order = [None] * len(prompts), sorted(range(len(prompts)), key=lambda i:
                                                   -len(prompts[i]))
        config = copy.deepcopy(self.model.generation_config)
        config.update(do_sample=False, temperature=None, top_k=None, top_p=None,
                      max_new_tokens=tokens, eos_token_id=sorted(stops), pad_token_id=0)
        for at in range(0, len(order), batch):
            group = order[at:at + batch]
            width = max(len(prompts[i]) for i in group)
            ids = torch.zeros(len(group), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, m, i in zip(ids, mask, group):
                row[width - len(prompts[i]):] = torch.tensor(prompts[i])
                m[width - len(prompts[i]):] = 1
            made = self.model.generate(input_ids=ids, attention_mask=mask,
                                       generation_config=config)[:, width:].tolist()
            for i, row in zip(group, made):
                end = next((k for k, t in enumerate(row) if t in stops), len(row))
                out[i] = row[:end]
        return out


# ---- questions with four options ----

def read_csv(papers, split, subject):
    with open(os.path.join(papers, "data", split, f"{subject}_{split}.csv"), encoding="utf-8",
              newline="") as f:
        return list(csv.reader(f))


def mmlu_item(row):
    return row[0].strip() + "".join(f"\n{k}. {c}" for k, c in zip("ABCD", row[1:5])) + "\nAnswer:"


def mmlu(exam, shots):
    """subject -> list of 0 and 1"""
    letters = [exam.tok(f" {k}", add_special_tokens=False).input_ids for k in "ABCD"]
    assert all(len(k) == 1 for k in letters), "an option letter is more than one token"
    right = {}
    for path in sorted(glob.glob(os.path.join(exam.papers, "data", "test", "*_test.csv"))):
        subject = os.path.basename(path)[:-len("_test.csv")]
        head = ("The following are multiple choice questions (with answers) about "
                f"{subject.replace('_', ' ')}.\n\n")
        head += "".join(f"{mmlu_item(r)} {r[5]}\n\n"
                        for r in read_csv(exam.papers, "dev", subject)[:shots])
        rows = read_csv(exam.papers, "test", subject)[:exam.limit]
        got = exam.last_logits([exam.ids(head + mmlu_item(r)) for r in rows])
        right[subject] = [int("ABCD"[int(torch.stack([g[k[0]] for k in letters]).argmax())]
                              == r[5]) for g, r in zip(got, rows)]
    return right


def section_mmlu(exam, table):
    for shots in (0, 5):
        right = mmlu(exam, shots)
        for subject, r in right.items():
            table.share("four options", subject, r, shots=shots)
        table.share("four options", "all", sum(right.values(), []), shots=shots)


# ---- ten options, worked steps ----

def pro_item(d):
    options = "".join(f"{k}. {o.strip()}\n" for k, o in zip("ABCDEFGHIJ", d["options"]))
    return f"Question:\n{d['question']}\nOptions:\n{options}Answer: Let's think step by step."


def section_pro(exam, table):
    test = read_lines(exam.papers, "pro", "test.jsonl")
    val = read_lines(exam.papers, "pro", "validation.jsonl")
    for shots in (0, 5):
        whole = []
        for category in dict.fromkeys(d["category"] for d in test):
            head = ("The following are multiple choice questions (with answers) about "
                    f"{category}. Think step by step and then finish your answer with \"the "
                    "answer is (X)\" where X is the correct letter choice.\n")
            for d in [d for d in val if d["category"] == category][:shots]:
                steps = d["cot_content"].replace("A: Let's think step by step. ", "")
                head += f"{pro_item(d)} {steps}\n\n"
            asked = [d for d in test if d["category"] == category][:exam.limit]
            made = exam.generate([exam.ids(head + pro_item(d)) for d in asked], 120, exam.stops)
            right = []
            for d, ids in zip(asked, made):
                text = exam.tok.decode(ids, skip_special_tokens=True).split("Question:")[0]
                found = re.findall(r"answer is \(?([ABCDEFGHIJ])\)?", text)
                right.append(int(bool(found) and found[0] == d["answer"]))
            table.share("ten options", category, right, shots=shots)
            whole += right
        table.share("ten options", "all", whole, shots=shots)


# ---- pictures, sounds, videos ----

def media_inputs(exam, recipe):
    """The request through Transformers' processor; (inputs, ids of the answer)."""
    from transformers.video_utils import VideoMetadata
    question, answer = mini_media.prompt(recipe)
    kw, marks = {}, ""
    for part in mini_media.media(recipe):
        marks += f"<|{part[0]}|>"
        if part[0] == "image":
            kw["images"] = [part[1]]
        elif part[0] == "audio":
            kw["audio"] = [part[1]]
        else:
            frames = [f for _, f in part[1]]
            kw["videos"] = [frames]
            kw["videos_kwargs"] = {"do_sample_frames": False, "video_metadata": [VideoMetadata(
                total_num_frames=len(frames), fps=1.0, frames_indices=list(range(len(frames))))]}
    bos = "" if exam.tok("a").input_ids[0] == exam.tok.bos_token_id else exam.tok.bos_token
    both = exam.proc(text=bos + marks + question + answer, return_tensors="pt", **kw)
    alone = exam.proc(text=bos + marks + question, return_tensors="pt", **kw)
    n = alone["input_ids"].shape[1]
    return both, both["input_ids"][0, n:].tolist()


@torch.no_grad()
def media_right(exam, recipe):
    """Would greedy text be the answer, and then end?  Of options: is the letter the likeliest?"""
    got, want = media_inputs(exam, recipe)
    types = torch.zeros_like(got["input_ids"])
    for kind, code in (("image", 1), ("video", 2), ("audio", 3)):
        types[got["input_ids"] == exam.tok.convert_tokens_to_ids(f"<|{kind}|>")] = code
    n = types.shape[1]
    kw = {k: torch.as_tensor(got[k]) for k in (
        "input_ids", "pixel_values", "image_position_ids", "pixel_values_videos",
        "video_position_ids", "num_frames_per_video", "input_features", "input_features_mask")
        if k in got}
    masks = hf_model.make_masks(types[0].tolist(), exam.window, "official")
    out = exam.model(**embed_video(exam.model.model, {
        **kw, "mm_token_type_ids": types, "position_ids": torch.arange(n)[None]}),
        attention_mask=hf_model.additive(masks, torch.float32), use_cache=False)
    logits = out.logits[0, n - len(want) - 1:]
    if recipe["choices"]:
        ids = [exam.tok(f" {k}", add_special_tokens=False).input_ids[0] for k in "ABCD"]
        return int(ids[int(logits[0, ids].argmax())] == want[0])
    best = logits.argmax(-1).tolist()
    end = best[len(want)]
    return int(best[:len(want)] == want and (
        end in exam.stops or exam.tok.decode([end]).startswith("\n")))


def section_media(exam, table):
    recipes = read_lines(exam.papers, "media.jsonl")
    for kind in dict.fromkeys(r["kind"] for r in recipes):
        mine = [r for r in recipes if r["kind"] == kind][:exam.limit]
        right = [media_right(exam, r) for r in mine]
        for form, some in (("", mine), (" free", [r for r in mine if not r["choices"]]),
                           (" options", [r for r in mine if r["choices"]])):
            table.share("media", kind + form, [right[mine.index(r)] for r in some])


# ---- tool calls ----

CALL = re.compile(r'<\|tool_call>call:(\w+)\{(?:(\w+):(?:<\|"\|>[^<]*<\|"\|>|-?\d+)'
                  r'(?:,(\w+):(?:<\|"\|>[^<]*<\|"\|>|-?\d+))*)?\}<tool_call\|>')


def section_tools(exam, table):
    rows = read_lines(exam.papers, "tools.jsonl")[:exam.limit]
    stops = exam.stops | {exam.tok.convert_tokens_to_ids("<|tool_response>")}
    made = exam.generate([exam.ids(r["prompt"]) for r in rows], 80, stops)
    texts = [exam.tok.decode(ids, skip_special_tokens=False).strip() for ids in made]
    formed = []
    for r, text in zip(rows, texts):
        m = CALL.fullmatch(text)
        tools = {t["function"]["name"]: t["function"]["parameters"]["properties"]
                 for t in r["tools"]}
        keys = re.findall(r'[{,](\w+):', text) if m else []
        formed.append(int(bool(m) and m[1] in tools and set(keys) <= set(tools[m[1]])))
    table.share("tool calls", "well formed", formed)
    table.share("tool calls", "the right call", [int(t == r["call"])
                                                 for t, r in zip(texts, rows)])


# ---- the drafter ----

@torch.no_grad()
def rounds(exam, drafter, ids, start):
    """Rounds of drafting along greedy ids, whose first `start` are the prompt:
    [accepted of the round's drafts], each round beginning behind the last one's text."""
    core = exam.model.model.language_model
    table = core.embed_tokens
    out = core(inputs_embeds=table(torch.tensor([ids])), use_cache=False,
               return_shared_kv_states=True)
    hidden, at, result = out.last_hidden_state, start - 1, []
    while at + 2 < len(ids):   # cached: ids[0 .. at]; known: ids[at + 1]
        kv = {k: (v[0][:, :, :at + 1], v[1][:, :, :at + 1])
              for k, v in out.shared_kv_states.items()}
        token, h = torch.tensor([[ids[at + 1]]]), hidden[:, at:at + 1]
        accepted, most = 0, min(DRAFTED, len(ids) - at - 2)
        for step in range(most):
            o = drafter(inputs_embeds=torch.cat([table(token), h], -1),
                        position_ids=torch.tensor([[at + 1]]), shared_kv_states=kv,
                        attention_mask=None)
            token, h = o.logits.argmax(-1), o.last_hidden_state
            if int(token) != ids[at + 2 + step]:
                break
            accepted += 1
        result.append((most, accepted))
        at += accepted + 1
    return result


def section_draft(exam, table):
    drafter = hf_model.load_drafter(os.path.join(exam.folder, "assistant"), torch.float32)
    rows = read_lines(exam.papers, "domains.jsonl")
    whole = []
    for domain in dict.fromkeys(r["domain"] for r in rows):
        prompts = [exam.ids(r["text"]) for r in rows if r["domain"] == domain][:exam.limit]
        prompts = [p[:max(8, len(p) // 4)] for p in prompts]
        found = []
        for p, made in zip(prompts, exam.generate(prompts, 96, exam.stops)):
            found += rounds(exam, drafter, p + made, len(p))
        draft_rows(table, domain, found)
        whole += found
    draft_rows(table, "all", whole)


def draft_rows(table, domain, found):
    """Position i counts where it was drafted and all before it were accepted."""
    for i in range(DRAFTED):
        table.share("drafter", f"{domain}, draft {i + 1}",
                    [int(a > i) for n, a in found if n > i and a >= i], what="acceptance")
    if found:
        mean = np.mean([a + 1 for _, a in found])
        half = 1.96 * np.std([a for _, a in found], ddof=1) / math.sqrt(len(found))
        table.add("drafter", f"{domain}, tokens a round", len(found), mean, mean - half,
                  mean + half, what="tokens_per_round", unit="tokens")


# ---- fewer bits ----

def round_to_nearest(w, bits):
    """Blocks of 32 along the inputs, one scale each: the largest magnitude is the last step."""
    x = w.reshape(w.shape[0], -1, 32)
    top = 2 ** (bits - 1) - 1
    scale = x.abs().amax(-1, keepdim=True) / top
    return (torch.round(x / scale.clamp(min=1e-30)).clamp(-top, top) * scale).reshape(w.shape)


def bits_rows(exam, table, section, matrices, true):
    """The same questions, 0-shot, paired, with these matrices rounded."""
    kept = [m.weight.detach().clone() for m in matrices]
    for bits in (8, 4, 3, 2):
        for m, w in zip(matrices, kept):
            m.weight.data.copy_(round_to_nearest(w, bits))
        right = mmlu(exam, 0)
        for subject, r in [*right.items(), ("all", sum(right.values(), []))]:
            before = true[subject] if subject in true else sum(true.values(), [])
            d = np.array(r) - np.array(before)
            half = 1.96 * d.std(ddof=1) / math.sqrt(len(d))
            table.share(section, subject, r, shots=0, bits=bits)
            table.add(f"{section}, difference", subject, len(d), d.mean(), d.mean() - half,
                      d.mean() + half, shots=0, bits=bits, what="difference")
    for m, w in zip(matrices, kept):
        m.weight.data.copy_(w)


def section_bits(exam, table):
    """Every matrix of the text model rounded, and those of the layers alone: all but the table,
    which is the output matrix, too."""
    text, true = exam.model.model.language_model, mmlu(exam, 0)
    layers = [m for m in text.layers.modules() if isinstance(m, torch.nn.Linear)]
    bits_rows(exam, table, "fewer bits", [*layers, text.embed_tokens], true)
    bits_rows(exam, table, "fewer bits, layers alone", layers, true)


# ---- the program ----

def run_program(exam, task, data, shots, out):
    """[samples] of each subject, by its name without the task's; out is a new folder"""
    command = [exam.program, "eval", "--engine", "ref", "--model", exam.folder, "--task", task,
               "--data", data, "--shots", str(shots), "--out", out]
    command += ["--limit", str(exam.limit)] if exam.limit else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = {}
    for path in sorted(glob.glob(os.path.join(out, "*", "samples_*.jsonl"))):
        name = re.sub(r"_\d{4}-\d\d-\d\dT.*", "", os.path.basename(path)[len("samples_"):])
        found[name.removeprefix(f"{task}_")] = read_lines(path)
    return found


def hold(table, section, name, shots, right):
    """The program's row, and how many questions it and Transformers answer differently."""
    theirs = table.right.get((section, name, shots, ""))
    table.share(f"gemma4: {section}", name, right, shots=shots)
    if theirs is not None:
        differ = sum(a != b for a, b in zip(right, theirs)) + abs(len(right) - len(theirs))
        table.differ += differ
        print(f"  {differ} of {len(right)} answered differently", flush=True)


def tool_requests(exam, folder):
    """tools.jsonl as requests"""
    rows = read_lines(exam.papers, "tools.jsonl")
    os.makedirs(folder)
    with open(os.path.join(folder, "requests.jsonl"), "w", encoding="utf-8") as f:
        for r in rows:
            f.write(json.dumps({"name": "tools", "prompt": r["prompt"], "target": r["call"],
                                "max_tokens": 80, "special": True,
                                "until": ["<|tool_response>"]}) + "\n")
    return folder


def section_program(exam, table):
    import mini_eval
    if not exam.program:
        return
    table.differ, table.head[-1] = 0, "ref"
    with tempfile.TemporaryDirectory() as tmp:
        media = os.path.join(tmp, "media")
        for task, section, data in (("mmlu", "four options", os.path.join(exam.papers, "data")),
                                    ("mmlu_pro", "ten options", os.path.join(exam.papers, "pro"))):
            for shots in (0, 5):
                out = os.path.join(tmp, f"{task}_{shots}")
                for name, rows in run_program(exam, task, data, shots, out).items():
                    hold(table, section, name, shots,
                         [int(r[r["metrics"][0]]) for r in rows])
        os.makedirs(media)
        mini_eval.write_requests(read_lines(exam.papers, "media.jsonl"), media)
        for name, rows in run_program(exam, "requests", media, 0,
                                      os.path.join(tmp, "media_out")).items():
            hold(table, "media", name, "", [int(r["exact_match"]) for r in rows])
        tools = tool_requests(exam, os.path.join(tmp, "tools"))
        rows = run_program(exam, "requests", tools, 0, os.path.join(tmp, "tools_out"))["tools"]
        hold(table, "tool calls", "the right call", "",
             [int(r["resps"][0][0].strip() == r["target"]) for r in rows])
    print(f"gemma4 and Transformers: {table.differ} questions answered differently")


# ---- the files themselves ----

def section_sums(exam, table):
    """Each "sha256  name" line of the model card."""
    with open(os.path.join(exam.folder, "README.md"), encoding="utf-8") as f:
        sums = re.findall(r"^\s*([0-9a-f]{64})  (\S+)$", f.read(), re.M)
    if not sums:
        raise SystemExit(f"{exam.folder}/README.md: no SHA-256 sums")
    for want, name in sums:
        with open(os.path.join(exam.folder, name), "rb") as f:
            if hashlib.sha256(f.read()).hexdigest() != want:
                raise SystemExit(f"{exam.folder}/{name}: not the file of README.md's sum")
    print(f"{len(sums)} SHA-256 sums hold")


SECTIONS = {"sums": section_sums, "mmlu": section_mmlu, "pro": section_pro,
            "media": section_media, "tools": section_tools, "draft": section_draft,
            "bits": section_bits, "program": section_program}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--model", default=os.path.join(HERE, "miniature"))
    ap.add_argument("--papers", default=os.path.join(HERE, "miniature", "eval"))
    ap.add_argument("--only", default=",".join(SECTIONS))
    ap.add_argument("--limit", type=int, help="of each subject or kind")
    ap.add_argument("--program", help="gemma4, held against the rest")
    ap.add_argument("--csv")
    a = ap.parse_args()
    exam = Exam(a.model, a.papers, a.limit)
    exam.program = a.program
    table = Table(a.model)
    print("| section | name | shots | bits | n | value | 95 % |\n|---|---|---|---|---|---|---|")
    for name in a.only.split(","):
        SECTIONS[name](exam, table)
    if a.csv:
        with open(a.csv, "w", newline="", encoding="utf-8") as f:
            csv.writer(f, lineterminator="\n").writerows([FIELDS, *table.rows])


if __name__ == "__main__":
    main()
