# SPDX-License-Identifier: Apache-2.0
"""The miniature's training, drawn from log.csv: loss, and accuracy on questions held out."""
import csv
import sys
from collections import defaultdict

GROUPS = {"text, four options": "mmlu/", "text, ten options": "pro/", "images": "image_",
          "sounds": "audio_", "videos": "video_", "free text (tokens)": "domain/",
          "tools and chat": ("tool", "chat")}


def read(path):
    """Losses by tokens, and {group: {tokens: [right, asked]}}"""
    loss, groups = {}, defaultdict(lambda: defaultdict(lambda: [0, 0]))
    with open(path, newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            at = int(row["tokens"]) / 1e6
            loss[at] = float(row["loss"])
            for name, prefix in GROUPS.items():
                if row["kind"].startswith(prefix):
                    groups[name][at][0] += int(row["correct"])
                    groups[name][at][1] += int(row["n"])
    return loss, groups


def plot(log, out):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "miniature"   # the same log makes the same file
    import matplotlib.pyplot as plt
    loss, groups = read(log)
    fig, (a, b) = plt.subplots(2, 1, figsize=(7, 7), sharex=True)
    a.plot(list(loss), list(loss.values()), color="black")
    a.set_ylabel("weighted loss, running mean (nats)")
    for name, points in groups.items():
        b.plot(list(points), [100 * r / n for r, n in points.values()], label=name)
    b.set_ylabel("right on held-out questions (%)")
    b.set_xlabel("million tokens")
    b.set_ylim(0, 100)
    b.legend(fontsize=8)
    for axis in (a, b):
        axis.grid(alpha=0.3)
    fig.tight_layout()
    fig.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    plot(sys.argv[1], sys.argv[2])
