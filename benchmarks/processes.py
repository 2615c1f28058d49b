"""Run a whole command as a user would, and measure it: wall and processor time, peak memory, time to a first step."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """Seconds and GiB of one process from its start; `first_step` is when its log told of the first finished step."""

    wall: float
    processor: float
    peak: float
    first_step: float | None


def measure(
    command: list[str], *, log: Path, first_line_of: Path | None = None, environment: dict[str, str]
) -> Measured:
    """Run `command`, its output in `log`. Raises RuntimeError with the end of the log when it fails."""
    start = time.perf_counter()
    first: float | None = None
    with log.open("wb") as sink:
        child = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if first is None and first_line_of is not None and first_line_of.is_file() and first_line_of.stat().st_size:
                first = time.perf_counter() - start
            if pid:
                break
            time.sleep(0.02)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n" + log.read_text(errors="replace")[-3000:])
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, first)
