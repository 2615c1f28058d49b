"""Preparing instruction data side by side: Hone and llamafactory on the same rows, in turns, two workers each."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from peer import peer_command
from preprocess_rows import write_rows

SIDE = Path(__file__).parent / "preprocess_side.py"


def main() -> None:
    """Make the rows, prepare them on both sides in turns, print a line for each run and the ratios."""
    options = _options()
    cache = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone"))
    pythons = {"hone": sys.executable}
    if not options.million:
        pythons["llamafactory"] = str(Path(peer_command(cache)[0]).parent / "python")
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-", dir=options.folder) as place:
        folder = Path(place)
        count = 1_000_000 if options.million else options.rows
        write_rows(folder / "rows.json", count)
        (folder / "dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}', encoding="utf-8")
        for number in range(1 if options.million else options.repeat):
            ids = "ids" if number == 0 and not options.million else "-"
            _pair(pythons, folder, options.workers, ids)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=2, help="pairs of runs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--million", action="store_true", help="Hone alone with a million rows: time and memory")
    parser.add_argument("--folder", help="where the rows and the caches of the runs go (default: the usual one)")
    return parser.parse_args()


def _pair(pythons: dict[str, str], folder: Path, workers: int, ids: str) -> None:
    """Each side with an empty cache, and then Hone again with a full one."""
    made = {}
    for who, python in pythons.items():
        made[who] = _run(who, python, folder / who, folder, workers, ids)
        print(_line(who, made[who]), flush=True)
    again = _run("hone", pythons["hone"], folder / "hone", folder, workers, "-")
    print(f"second start: data ready in {again['seconds']:.2f} s", flush=True)
    if "llamafactory" in made:
        mine, theirs = made["hone"], made["llamafactory"]
        ratios = [f"{theirs[name] / mine[name]:.2f} in {name}" for name in ("seconds", "processor")]
        print(f"ratio: {', '.join(ratios)}", flush=True)
        if ids == "ids":
            print("ids and labels: " + ("equal" if mine["ids"] == theirs["ids"] else "DIFFERENT"), flush=True)
    for who in pythons:
        subprocess.run(["rm", "-rf", str(folder / who)], check=True)


def _run(who: str, python: str, own: Path, folder: Path, workers: int, ids: str) -> dict[str, Any]:
    from hone.models.embedded import embedded_model

    own.mkdir(exist_ok=True)
    for name in ("rows.json", "dataset_info.json"):
        if not (own / name).exists():
            os.link(folder / name, own / name)
    quiet = {"DISABLE_VERSION_CHECK": "1", "HF_HOME": str(own / "huggingface"), "OMP_NUM_THREADS": "1"}
    words = [python, str(SIDE), who, str(embedded_model()), str(own), str(workers), ids]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **quiet})
    if done.returncode:
        raise SystemExit(f"{who} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _line(who: str, made: dict[str, Any]) -> str:
    rate = made["rows"] / made["seconds"]
    grown = made["peak"] - made["before"]
    return (
        f"{who:13} {made['rows']:,} rows in {made['seconds']:6.1f} s: {rate:7,.0f} rows/s, "
        f"{made['processor']:.1f} s of processor; "
        f"peak {made['peak']:.2f} GiB, {grown:.2f} above the imports; a worker's {made['worker_peak']:.2f} GiB"
    )


if __name__ == "__main__":
    main()
