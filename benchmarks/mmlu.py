"""The 285 development questions of MMLU, five of each subject, out of the package of lm-evaluation-harness."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

HARNESS = "lm-eval==0.4.13"
INSIDE = "lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json"
EACH = re.compile(r"(.*?)\s*\(A\)(.*?)\(B\)(.*?)\(C\)(.*?)\(D\)(.*?)\nA: .*answer is \(?([ABCD])\b", re.DOTALL)


def harness_package(place: Path) -> Path:
    """The package's wheel in the folder, fetched when it is missing. CalledProcessError when it cannot be fetched."""
    wheel = next(place.glob("lm_eval-*.whl"), None)
    if wheel is None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(place), HARNESS]
        subprocess.run(pip, check=True, capture_output=True, timeout=120)
        wheel = next(place.glob("lm_eval-*.whl"))
    return wheel


def questions(wheel: Path) -> dict[str, list[list[str]]]:
    """Subject → rows as MMLU's tables hold them: question, four options, letter. The few whose worked answer does not
    end in a letter are left out."""
    with zipfile.ZipFile(wheel) as package:
        whole: dict[str, str] = json.loads(package.read(INSIDE))
    found = {subject: [EACH.match(block) for block in text.split("\n\nQ: ")[1:]] for subject, text in whole.items()}
    return {
        subject: [[part.strip() for part in one.groups()] for one in rows if one] for subject, rows in found.items()
    }


def write_table(folder: Path, subject: str, split: str, rows: list[list[str]]) -> None:
    """A table in the published layout."""
    file = folder / split / f"{subject}_{split}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
