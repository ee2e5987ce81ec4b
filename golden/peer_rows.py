# SPDX-License-Identifier: Apache-2.0
"""Rows for a table of notebooks_data/results, whose README.md says what the columns are."""
import csv
import datetime
import subprocess


def first(path, key):
    """What stands behind `key:` in a file of /proc."""
    with open(path, encoding="utf-8") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith(key)), "")


def save(path, model, threads, rows):
    """rows: (engine, case, what, value, unit)"""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                         check=False)
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    ram = round(int(first("/proc/meminfo", "MemTotal").split()[0]) / 1e6)
    with open(path, "a", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        for engine, case, what, value, unit in rows:
            out.writerow([now, git.stdout.strip(), first("/proc/cpuinfo", "model name").replace(
                ",", ""), threads, ram, model, "", engine, case, what, value, unit])
