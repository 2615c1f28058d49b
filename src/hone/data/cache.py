"""Prepared sets, kept under the hash of everything they were made from: never stale, checked before they are used."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.errors import MachineError

FORMAT = 4
"""Raise it whenever the files, or the way rows become examples, change."""
META = "meta.json"
PART = ".part"
OLD = 7 * 24 * 3600
CHUNK = 1 << 22


@dataclass(frozen=True)
class Kept:
    """An entry of the cache: its folder, and the counts stored with it."""

    folder: Path
    facts: Mapping[str, Any]


def key_of(inputs: Mapping[str, Any]) -> str:
    """The name of the entry made from `inputs` (plain JSON values)."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def hash_of(files: tuple[Path, ...]) -> str:
    """A hash of the files' bytes."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def find(root: Path, inputs: Mapping[str, Any], say: Callable[[str], None]) -> Kept | None:
    """The entry for `inputs`, if it is there and whole. Damage is said, and the entry removed."""
    folder = root / key_of(inputs)
    if not folder.exists():
        return None
    fault = _fault(folder)
    if fault is None:
        return Kept(folder, json.loads((folder / META).read_text(encoding="utf-8"))["facts"])
    say(f"cache: {inputs['dataset']} is damaged ({fault}), made anew")
    _remove(folder)
    return None


def build(root: Path, inputs: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]]) -> Kept:
    """Let `make` fill a folder and return its facts, then put it in place in one step. MachineError: no room.

    Where `make` is ended from outside (a signal, a worker killed), the folder stays, and the next `make` finds in it
    what was done. Other faults leave nothing.
    """
    folder = root / key_of(inputs)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        with _draft(folder) as draft:
            facts = make(draft)
            _seal(draft, inputs, facts)
            _place(draft, folder)
        _remember(root, inputs)
    except OSError as fault:
        fix = "free some room, or set HONE_CACHE to another folder"
        raise MachineError.one("CACHE-DIR", fault.strerror or str(fault), str(root), fix) from fault
    return Kept(folder, facts)


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """The folder where an entry is made: the one that an ended run has left, unless another run is at work there."""
    draft = folder.with_name(f"{folder.name}{PART}")
    draft.mkdir(mode=0o700, exist_ok=True)
    lock = _locked(draft)
    if lock is None:
        draft = folder.with_name(f"{folder.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
        draft.mkdir(mode=0o700)
    ended = False
    try:
        yield draft
    except BaseException as fault:
        ended = not isinstance(fault, Exception) or (isinstance(fault, MachineError) and lock is not None)
        raise
    finally:
        if not ended:
            shutil.rmtree(draft, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked(draft: Path) -> int | None:
    """A lock on the folder that ends with this process, however it ends; None where another has it, or none exist."""
    try:
        import fcntl
    except ImportError:
        return None
    place = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.fstat(place)
        # Whoever held it may have put the folder in its place meanwhile.
        mine = held.st_uid == os.getuid() and os.path.samestat(held, draft.stat())
    except OSError:
        mine = False
    if mine:
        return place
    os.close(place)
    return None


def _sweep(root: Path) -> None:
    """Remove what ended runs have left and nobody has gone on with for a week."""
    for left in [*root.glob(f"*{PART}"), *root.glob("*.tmp-*"), *root.glob("*.trash-*")]:
        with suppress(OSError):
            if left.is_dir() and time.time() - left.stat().st_mtime > OLD:
                shutil.rmtree(left)


def changes(root: Path, inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Which inputs differ from those that this set was last prepared with; none where it never was."""
    try:
        last = json.loads(_last(root, inputs).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(name for name in inputs if last.get(name) != inputs[name])


def _seal(folder: Path, inputs: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    files = {file.name: [file.stat().st_size, _checksum(file)] for file in sorted(folder.iterdir())}
    for name in files:
        with (folder / name).open("rb+") as stream:
            os.fsync(stream.fileno())
    meta = {"inputs": inputs, "facts": facts, "files": files}
    (folder / META).write_text(json.dumps(meta, ensure_ascii=False, indent=1), encoding="utf-8")


def _place(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        # Another process was faster: the name stands for the content, so its entry is as good.
        if not folder.exists():
            raise


def _fault(folder: Path) -> str | None:
    try:
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return "another user's"
        files = json.loads((folder / META).read_text(encoding="utf-8"))["files"]
        for name, (size, checksum) in files.items():
            if (folder / name).stat().st_size != size:
                return f"{name} has the wrong size"
            if _checksum(folder / name) != checksum:
                return f"{name} has the wrong checksum"
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable"
    return None


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _remove(folder: Path) -> None:
    # Renamed first, so that no half-removed entry is ever found under its name.
    doomed = folder.with_name(f"{folder.name}.trash-{secrets.token_hex(4)}")
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as fault:
        raise MachineError.one("CACHE-DIR", f"cannot remove: {fault.strerror}", str(folder)) from None


def _last(root: Path, inputs: Mapping[str, Any]) -> Path:
    name = json.dumps([inputs["dataset"], inputs["files"], inputs["stage"]])
    return root / "last" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def _remember(root: Path, inputs: Mapping[str, Any]) -> None:
    path = _last(root, inputs)
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(f".tmp-{os.getpid()}")
    draft.write_text(json.dumps(inputs, ensure_ascii=False), encoding="utf-8")
    draft.replace(path)
