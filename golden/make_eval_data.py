#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Made-up questions in the layout of each published data set, for check_eval.py: as many as asked
for, with quotes, blanks at the ends, brackets, Unicode and rows that are there twice.
usage: make_eval_data.py FOLDER [--count 60]     a folder per task below FOLDER
"""
import argparse
import csv
import json
import os
import random

WORDS = ("time water \u00c9tude Stra\u00dfe river [step] 3,5 it's \"so\" A\u00c7\u00c3O NA\u00cfVE  two  "
         "\u0416\u0423\u041a \u65e5\u672c stone, $40 then -12. light and they walk [title] home caf\u00e9 "
         "\u03a9mega green 7 off").split(" ")


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def text(self, low=2, high=9):
        return " ".join(self.r.choice(WORDS) for _ in range(self.r.randint(low, high))) or "x"

    def hellaswag(self):
        a, b = self.text(), self.r.choice(["", "the " + self.text(), "\u00e9T\u00c9 " + self.text()])
        return {"ind": self.r.randint(0, 999), "activity_label": self.text(1, 2), "ctx_a": a,
                "ctx_b": b, "ctx": a + " " + b, "endings": [self.text() + "." for _ in range(4)],
                "source_id": "made~" + str(self.r.random()), "split": "val",
                "split_type": "indomain", "label": str(self.r.randint(0, 3))}

    def arc(self):
        n, number = self.r.choice([3, 4, 4, 5]), self.r.random() < 0.3
        labels = [str(i + 1) if number else "ABCDE"[i] for i in range(n)]
        return {"id": "made_" + str(self.r.randint(0, 10 ** 6)), "question": self.text() + "?",
                "choices": {"text": [self.text(1, 4) for _ in range(n)], "label": labels},
                "answerKey": self.r.choice(labels)}

    def winogrande(self):
        return {"sentence": self.text() + " _ " + self.text() + ".", "option1": self.text(1, 1),
                "option2": self.text(1, 2), "answer": self.r.choice("12")}

    def piqa(self):
        return {"goal": self.text(), "sol1": self.text(), "sol2": self.text(),
                "label": self.r.randint(0, 1)}

    def boolq(self):
        return {"question": self.text(), "passage": self.text(5, 20),
                "idx": self.r.randint(0, 9999), "label": self.r.randint(0, 1)}

    def gsm8k(self):
        n = self.r.choice(["12", "-3", "1,250", "0.5", "$40."])
        return {"question": self.text(4, 12) + "?", "answer": f"{self.text()}\n<<2*3=6>>6\n#### {n}"}


    def mmlu(self):
        return [self.text(3, 12) + "?", *[self.text(1, 4) for _ in range(4)], self.r.choice("ABCD")]

    def mmlu_pro(self, category):
        n = self.r.choice([3, 4, 10, 10])
        k = self.r.randrange(n)
        return {"question_id": self.r.randint(0, 9999), "question": self.text(4, 12) + "?",
                "options": [self.text(1, 4) for _ in range(n)], "answer": "ABCDEFGHIJ"[k],
                "answer_index": k, "cot_content": "A: Let's think step by step. " + self.text(5, 15)
                + f" The answer is ({'ABCDEFGHIJ'[k]}).", "category": category, "src": "made"}

    def gpqa(self):
        """Some of the published columns: texts, numbers with and without gaps, truths."""
        r, wrong = self.r, self.text(1, 5)
        return {"Question": r.choice(["", " "]) + self.text(5, 20) + r.choice(["?", "?\n\nSay, why?"]),
                "Correct Answer": self.text(1, 5) + r.choice(["", "\n", " "]),
                "Incorrect Answer 1": wrong, "Incorrect Answer 2": r.choice([self.text(1, 5), wrong]),
                "Incorrect Answer 3": r.choice([self.text(1, 5), self.text(1, 5), "N/A"]),
                "Explanation": r.choice([self.text(), "", "None"]),
                "Self-reported question-writing time (minutes)": r.choice([15, 90, 240]),
                "Writer's Difficulty Estimate": r.choice(["Hard graduate level", "Other", ""]),
                "Non-Expert Validator Accuracy": r.choice([0, 1, 0.5, 1 / 3, 2 / 3]),
                "Time spent_EV_1": r.choice(["", 600, 4520.5, 12345678901234567890]),
                "Validator Answered Correctly_EV_1": r.choice([0, 1]),
                "Is First Validation_EV_1": r.choice([True, False]),
                "Is First Validation_EV_2": r.choice([True, False, ""]),
                "Majority": "", "Canary String": "made:0"}

    def wikitext(self):
        """A page as it is published: detached punctuation, quotes and brackets, headings."""
        line = ['in 1 @,@ 234 the " big " one , which ( at first ) was , N \' s own .', "it 's [ 2 ] { x }",
                "it was 5 @.@ 5 \u00b0 C ; well @-@ known : yes ! no ?", "boys ' and \' a \' /' 7/ = = = x",
                "( open \" and \u00a0 never", self.text(8, 30) + " .", self.text(20, 60) + " ."]
        name = self.text(1, 3).replace("\n", " ")
        parts = [f" = {name} = ", ""]
        for i in range(self.r.randint(1, 4)):
            parts += [f" = = {self.text(1, 2)} = = ", "", " " + " ".join(
                self.r.choice(line) for _ in range(self.r.randint(1, 6))) + " "]
        return {"page": "\n".join(parts + [""])}


GPQA = ("gpqa_diamond_zeroshot", "gpqa_diamond_cot_zeroshot")
SPLITS = {"hellaswag": "validation", "arc_easy": "test", "arc_challenge": "test",
          "winogrande": "validation", "piqa": "validation", "boolq": "validation", "gsm8k": "test"}


def write_csv(path, rows):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows(rows)


def write_lines(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(x, ensure_ascii=False) + "\n" for x in lines)


def make(folder, task, count, seed):
    m = Maker(f"{seed} {task}")
    if task == "mmlu":
        for subject, n in (("anatomy", count), ("made_up", count // 2)):
            write_csv(f"{folder}/test/{subject}_test.csv", [m.mmlu() for _ in range(n)])
            write_csv(f"{folder}/dev/{subject}_dev.csv", [m.mmlu() for _ in range(5)])
        return
    if task == "mmlu_pro":
        kinds = ("math", "computer science")
        write_lines(f"{folder}/test.jsonl", [m.mmlu_pro(m.r.choice(kinds)) for _ in range(count)])
        write_lines(f"{folder}/validation.jsonl", [m.mmlu_pro(k) for _ in range(5) for k in kinds])
        return
    if task in GPQA:
        rows = [m.gpqa() for _ in range(count)]
        write_csv(f"{folder}/gpqa_diamond.csv", [list(rows[0])] + [list(r.values()) for r in rows])
        return
    if task == "wikitext":
        write_lines(f"{folder}/test.jsonl", [m.wikitext() for _ in range(count)])
        return
    one = getattr(m, "arc" if task.startswith("arc") else task)
    rows = [one() for _ in range(count)]
    train = [one() for _ in range(count // 2)]
    train += rows[:count // 4] + rows[:2]   # questions that are examples, too, two of them twice
    m.r.shuffle(train)
    for split, lines in ((SPLITS[task], rows), ("train", train)):
        write_lines(f"{folder}/{split}.jsonl", lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("folder")
    ap.add_argument("--count", type=int, default=60)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    for task in ("mmlu", "mmlu_pro", *GPQA, "wikitext", *SPLITS):
        make(os.path.join(a.folder, task), task, a.count, a.seed)


if __name__ == "__main__":
    main()
