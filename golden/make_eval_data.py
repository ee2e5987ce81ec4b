#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Made-up questions in the layout of each published data set, for check_eval.py: as many as asked
for, with quotes, blanks at the ends, brackets, Unicode and rows that are there twice.
usage: make_eval_data.py FOLDER [--count 60]     a folder per task below FOLDER
"""
import argparse
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


SPLITS = {"hellaswag": "validation", "arc_easy": "test", "arc_challenge": "test",
          "winogrande": "validation", "piqa": "validation", "boolq": "validation", "gsm8k": "test"}


def make(folder, task, count, seed):
    m = Maker(f"{seed} {task}")
    one = getattr(m, "arc" if task.startswith("arc") else task)
    rows = [one() for _ in range(count)]
    train = [one() for _ in range(count // 2)]
    train += rows[:count // 4] + rows[:2]   # questions that are examples, too, two of them twice
    m.r.shuffle(train)
    os.makedirs(folder, exist_ok=True)
    for split, lines in ((SPLITS[task], rows), ("train", train)):
        with open(os.path.join(folder, split + ".jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(x, ensure_ascii=False) + "\n" for x in lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("folder")
    ap.add_argument("--count", type=int, default=60)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    for task in SPLITS:
        make(os.path.join(a.folder, task), task, a.count, a.seed)


if __name__ == "__main__":
    main()
