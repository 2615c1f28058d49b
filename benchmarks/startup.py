"""How long the light commands take: processor seconds of `--help`, `version`, `train -h` and a faulty recipe."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import measure

FAULTY = "model_name_or_path: some/model\nlora_rnk: 8\nlearning_rate: fast\nstage: sft\n"
RUNS = 7


def main() -> None:
    """Print the median of some warm runs of each command; `--json` is not needed for four numbers."""
    hone = str(Path(sys.executable).parent / "hone")
    with tempfile.TemporaryDirectory(prefix="hone-startup-") as place:
        recipe = Path(place) / "faulty.yaml"
        recipe.write_text(FAULTY, encoding="utf-8")
        commands = {
            "hone --help": [hone, "--help"],
            "hone version": [hone, "version"],
            "hone train -h": [hone, "train", "-h"],
            "hone train with faults": [hone, "train", str(recipe)],
        }
        for name, command in commands.items():
            print(f"{name:24} {_seconds(command, Path(place) / 'log.txt'):.3f} s processor time")


def _seconds(command: list[str], log: Path) -> float:
    runs = []
    for _ in range(RUNS):
        try:
            runs.append(measure(command, log=log, environment={}).processor)
        except RuntimeError:  # the faulty recipe ends with exit code 2, as it should
            before = resource_seconds()
            subprocess.run(command, capture_output=True, check=False)
            runs.append(resource_seconds() - before)
    return statistics.median(runs)


def resource_seconds() -> float:
    """Processor seconds of all finished children so far."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
