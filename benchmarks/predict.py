"""Answering a data set side by side: `hone predict` and the peer's `do_predict`, whole commands, same rows, greedy."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer import peer_command
from processes import measure

HERE = Path(__file__).parent
RECIPE = {
    "stage": "sft",
    "do_predict": True,
    "predict_with_generate": True,
    "finetuning_type": "lora",
    "eval_dataset": "rows",
    "template": "smollm2",
    "cutoff_len": 1024,
    "do_sample": False,
    "infer_dtype": "float32",
    "report_to": "none",
    "overwrite_output_dir": True,
    "seed": 42,
}
"""No adapter: both ask the model as it is. The peer answers in float32 in any case."""


@dataclass(frozen=True)
class Row:
    """One run: rows a second while answering (as its own metrics say), GiB, seconds of the whole command, answers."""

    who: str
    rate: float
    peak: float
    wall: float
    answers: tuple[dict[str, str], ...]


def main() -> None:
    """Parse, measure in turns, print."""
    options = _options()
    cache = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone"))
    hone, peer = [str(Path(sys.executable).parent / "hone"), "predict"], [*peer_command(cache), "train"]
    mine: list[Row] = []
    theirs: dict[int, list[Row]] = {batch: [] for batch in options.batches}
    for _ in range(options.repeat):
        mine.append(_run("hone", hone, {}, options))
        for batch, rows in theirs.items():
            rows.append(_run(f"llamafactory, {batch}", peer, {"per_device_eval_batch_size": batch}, options))
    print(_table(mine, theirs))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--batches", nargs="+", type=int, default=[8, 16], help="the peer's batch sizes; its best counts"
    )
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=64, help="the most that an answer may have")
    return parser.parse_args()


def _run(who: str, command: list[str], added: dict[str, Any], options: argparse.Namespace) -> Row:
    from hone.models.embedded import embedded_model

    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as place:  # JSON is YAML too
        out = Path(place) / "out"
        rows = json.loads((HERE / "data" / "instructions.json").read_text(encoding="utf-8"))[: options.samples]
        recipe = {**RECIPE, **added, "model_name_or_path": str(embedded_model()), "max_new_tokens": options.tokens}
        recipe |= {"output_dir": str(out), "dataset_dir": place}
        (Path(place) / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
        (Path(place) / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
        (Path(place) / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        environment = {
            "OMP_NUM_THREADS": str(options.threads),
            "DISABLE_VERSION_CHECK": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        words = [*command, str(Path(place) / "recipe.yaml")]
        seen = measure(words, log=Path(place) / "log.txt", environment=environment)
        results = json.loads((out / "predict_results.json").read_text(encoding="utf-8"))
        lines = (out / "generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    answers = tuple(json.loads(line) for line in lines)
    row = Row(who, len(answers) / results["predict_runtime"], seen.peak, seen.wall, answers)
    print(_line(row), file=sys.stderr, flush=True)
    return row


def _line(row: Row) -> str:
    return f"{row.who:17} {row.rate:6.3f} rows/s  {row.peak:5.2f} GiB  whole {row.wall:6.1f} s"


def _table(mine: Sequence[Row], theirs: dict[int, list[Row]]) -> str:
    best = max(theirs.values(), key=lambda rows: statistics.median(row.rate for row in rows))
    pairs = list(zip(mine, best, strict=True))
    asked, answered = (_equal(mine[0], best[0], key) for key in ("prompt", "predict"))
    lines = [_line(row) for row in (*mine, *(row for rows in theirs.values() for row in rows))]
    lines.append(f"in each pair, {best[0].who}: rows/s " + ", ".join(f"{a.rate / b.rate:.2f}" for a, b in pairs))
    lines[-1] += "; memory " + ", ".join(f"{a.peak / b.peak:.2f}" for a, b in pairs)
    lines[-1] += "; whole command " + ", ".join(f"{b.wall / a.wall:.2f}" for a, b in pairs)
    lines.append(f"of {len(mine[0].answers)} rows: {asked} prompts and {answered} answers equal")
    return "\n".join(lines)


def _equal(one: Row, other: Row, key: str) -> int:
    return sum(a[key] == b[key] for a, b in zip(one.answers, other.answers, strict=True))


if __name__ == "__main__":
    main()
