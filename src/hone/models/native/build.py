"""Building the machine code once for this machine: in the background, kept in the cache, never a reason to stop."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from hone.log import say

SWITCH = "HONE_NATIVE"
"""The environment variable that, set to 0, leaves every function to torch."""

FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math")
PATIENCE = 60.0
"""Seconds after which a compiler is given up; it takes one or two."""

_running: dict[Path, tuple[subprocess.Popen[bytes], Path]] = {}
"""Where a library will be → the compiler at work on it and the file it writes."""


def begin() -> None:
    """Start the compiler, unless what it would make is there already; `library` takes up the result."""
    try:
        target = _target()
        if target is not None and not target.exists() and target not in _running:
            _running[target] = _compiler(target)
    except Exception as reason:  # whatever is wrong with a compiler, training goes on without it
        _without(reason)


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Their functions, built now if need be; None, with one line in the log, where that cannot be."""
    try:
        target = _target()
        if target is None:
            return None
        if not target.exists():
            begin()
            _finish(target)
        return ctypes.CDLL(str(target))
    except Exception as reason:
        _without(reason)
        return None


def _without(reason: Exception) -> None:
    say(f"without machine code for the small functions: {' '.join(str(reason).split())[:200]}")


def _target() -> Path | None:
    """Where the library for this source, compiler, processor and torch belongs; None where none is to be built."""
    if os.environ.get(SWITCH) == "0" or sys.platform != "linux" or _program() is None:
        return None
    import torch

    from hone.rundir import cache_root

    told = (
        *(source.read_text(encoding="utf-8") for source in (*_sources(), *_read())),
        " ".join(FLAGS),
        _program(),
        torch.__version__,
        _processor(),
    )
    key = hashlib.sha256("\0".join(map(str, told)).encode()).hexdigest()[:20]
    return cache_root() / "native" / f"rows-{key}.so"


def _sources() -> tuple[Path, ...]:
    """What is compiled."""
    return tuple(Path(__file__).with_name(name) for name in ("attention.c", "panels.c", "step.c"))


def _read() -> tuple[Path, ...]:
    """What those read."""
    return tuple(Path(__file__).with_name(name) for name in ("rows.c", "decode.c", "numbers.h"))


def _program() -> str | None:
    return next(filter(None, map(shutil.which, ("gcc", "cc"))), None)


def _processor() -> str:
    """What `-march=native` depends on: a cache shared by machines must not mix their code."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    kept = [line for line in lines if line.split("\t")[0].strip() in ("model name", "flags", "Features", "CPU part")]
    return platform.machine() + "".join(kept)


def _threads_of_torch() -> list[str]:
    """Torch's own OpenMP library, so that its threads are used and no second team is made."""
    import torch

    home = Path(torch.__file__).parent
    places = (home / "lib", home.parent / "torch.libs")
    found = [str(path) for place in places if place.is_dir() for path in place.glob("libgomp*.so*")]
    if not found:
        raise OSError("torch's own thread library was not found")
    return found[:1]


def _compiler(target: Path) -> tuple[subprocess.Popen[bytes], Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix="building-", dir=target.parent)) / "rows.so"
    words = [
        str(_program()),
        *FLAGS,
        *map(str, _sources()),
        "-o",
        str(half),
        "-nodefaultlibs",
        *_threads_of_torch(),
        "-lm",
        "-lc",
    ]
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    return running, half


def _finish(target: Path) -> None:
    """Wait for the compiler and put what it made in its place at once, so that nobody loads half a file."""
    running, half = _running.pop(target)
    try:
        said = running.communicate(timeout=PATIENCE)[1]
        if running.returncode:
            raise OSError(said.decode(errors="replace") or "the compiler failed")
        half.replace(target)
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
        shutil.rmtree(half.parent, ignore_errors=True)
