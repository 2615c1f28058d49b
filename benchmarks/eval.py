"""Five-shot multiple choice side by side: `hone eval` and lm-evaluation-harness, the same prompts to the token.

The questions are real ones of MMLU. Only five of each subject are to be had from a package index, so each of the four
groups is asked as one subject: five of its questions are the worked examples, others are asked. (The whole set has
about 250 questions to the five examples of a subject, more than is asked of a group here.)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmlu import harness_package, questions, write_table
from peer import TORCH
from processes import measure

HERE = Path(__file__).parent
SHOTS = 5


@dataclass(frozen=True)
class Row:
    """One run: seconds of asking and of the whole command, GiB, the letters said."""

    who: str
    asking: float
    wall: float
    peak: float
    said: tuple[str, ...]


def main() -> None:
    """Write the questions down, ask them on both sides, print."""
    options = _options()
    cache = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone"))
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as name:
        place = Path(name)
        wheel = harness_package(place)
        harness = _harness(cache, wheel)
        wanted = _lay_out(place / "evaluation/mmlu", questions(wheel), options.each)
        recipe = _recipe(place, options.batch)
        _write_prompts(place / "prompts.json", recipe)
        rows = [_hone(place, recipe, options.threads)]
        rows += [_peer(place, harness, recipe, batch, options.threads) for batch in options.batches]
    print(_table(rows, wanted))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=12, help="questions of each of the four groups")
    parser.add_argument("--batch", type=int, default=4, help="batch_size of hone eval; 4 is its default")
    parser.add_argument(
        "--batches", nargs="+", type=int, default=[1, 8], help="the harness's batch sizes; its best counts"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _harness(cache: Path, wheel: Path) -> Path:
    """The Python of the harness's own environment, made when it is missing (minutes, some GB)."""
    given = os.environ.get("HONE_HARNESS_VENV")
    home = Path(given) if given else cache / "harness-venv"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", TORCH], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{wheel}[hf]", TORCH], check=True)
    return python


def _lay_out(folder: Path, whole: dict[str, list[list[str]]], each: int) -> list[str]:
    """Write each group as a subject; the right letters in the order in which `answers.jsonl` has them."""
    from hone.evals.subjects import group_of

    groups: dict[str, list[list[str]]] = {}
    for subject, rows in whole.items():
        groups.setdefault(group_of("mmlu", subject), []).extend(rows)
    mapping, wanted = {}, {}
    for group, rows in groups.items():
        key = group.lower().replace(" ", "-")
        mapping[key] = {"name": group, "category": group}
        drawn = random.Random(0).sample(rows, SHOTS + each)
        write_table(folder, key, "dev", drawn[:SHOTS])
        write_table(folder, key, "test", drawn[SHOTS:])
        wanted[key] = [row[-1] for row in drawn[SHOTS:]]
    (folder / "mapping.json").write_text(json.dumps(mapping), encoding="utf-8")
    return [letter for key in sorted(wanted) for letter in wanted[key]]


def _recipe(place: Path, batch: int) -> dict[str, Any]:
    from hone.models.embedded import embedded_model

    return {
        "model_name_or_path": str(embedded_model()), "template": "fewshot", "infer_dtype": "float32",
        "task": "mmlu_test", "task_dir": str(place / "evaluation"), "n_shot": SHOTS, "batch_size": batch,
        "save_dir": str(place / "saved"),
    }  # fmt: skip


def _write_prompts(file: Path, recipe: dict[str, Any]) -> None:
    """The very ids that `hone eval` asks with, for the other side."""
    from hone.evals.tables import read_subjects
    from hone.recipe import settle
    from hone.runs.asking import letter_prompts
    from hone.runs.encoding import encoding_of

    settled = settle({key: value for key, value in recipe.items() if key != "save_dir"}, verb="eval")
    encoder = encoding_of(settled).encoder
    subjects = read_subjects(Path(recipe["task_dir"]) / "mmlu", "test")
    prompts = [ids for subject in subjects for ids in letter_prompts(settled, encoder, subject)]
    tokenizer: Any = encoder.tokenizer
    letters = {letter: tokenizer.encode(letter, add_special_tokens=False)[-1] for letter in "ABCD"}
    file.write_text(json.dumps({"prompts": prompts, "letters": letters}), encoding="utf-8")


def _hone(place: Path, recipe: dict[str, Any], threads: int) -> Row:
    (place / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    words = [str(Path(sys.executable).parent / "hone"), "eval", str(place / "recipe.yaml")]
    saved = place / "saved"
    seen = measure(
        words, log=place / "log.txt", first_line_of=saved / "answers.partial.jsonl", environment=_environment(threads)
    )
    rows = [json.loads(line) for line in (saved / "answers.jsonl").read_text("utf-8").splitlines()]
    asking = seen.wall - (seen.first_step or float("nan"))  # to the end of the command
    return _told(Row("hone eval", asking, seen.wall, seen.peak, tuple(row["said"] for row in rows)))


def _peer(place: Path, python: Path, recipe: dict[str, Any], batch: int, threads: int) -> Row:
    out = place / f"harness-{batch}.json"
    words = [
        str(python),
        str(HERE / "eval_side.py"),
        recipe["model_name_or_path"],
        str(place / "prompts.json"),
        str(out),
    ]
    seen = measure([*words, str(batch)], log=place / "log.txt", environment=_environment(threads))
    found = json.loads(out.read_text(encoding="utf-8"))
    return _told(Row(f"harness, {batch}", found["seconds"], seen.wall, seen.peak, tuple(found["said"])))


def _environment(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def _told(row: Row) -> Row:
    print(_line(row), file=sys.stderr, flush=True)
    return row


def _line(row: Row) -> str:
    rate = len(row.said) / row.asking
    return f"{row.who:12} {rate:6.2f} questions/s  whole {row.wall:6.1f} s  {row.peak:5.2f} GiB"


def _table(rows: list[Row], wanted: list[str]) -> str:
    mine, best = rows[0], min(rows[1:], key=lambda row: row.asking)
    scores = [100 * sum(a == b for a, b in zip(row.said, wanted, strict=True)) / len(wanted) for row in rows]
    lines = [f"{_line(row)}  accuracy {score:.2f}" for row, score in zip(rows, scores, strict=True)]
    same = sum(a == b for a, b in zip(mine.said, best.said, strict=True))
    lines.append(
        f"{best.asking / mine.asking:.2f} times its questions/s ({best.who}), whole command {best.wall / mine.wall:.2f}"
        f"; {same} of {len(wanted)} answers equal"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
