"""Where an export goes: refused before anything is written, made beside its place, and moved there whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hone.errors import MachineError, RecipeError
from hone.log import say
from hone.rundir import LOCK, held, umask
from hone.training.checkpoints.room import BESIDE, in_units


def check_place(target: Path, sources: list[Path]) -> None:
    """RecipeError when the folder holds something already, is one of the sources, or lies within one."""
    for source in sources:
        if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
            raise RecipeError.one(
                "EXPORT-DIR", f"the folder is, or lies in, what is exported ({source})", str(target),
                "name another export_dir",
            )  # fmt: skip
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RecipeError.one(
            "EXPORT-DIR", "there is something at this place already", str(target),
            "name a new export_dir, or remove what is there",
        )  # fmt: skip


@contextmanager
def drafted(target: Path, size: int) -> Iterator[Path]:
    """A folder beside the target to write `size` bytes into; it takes the target's name once all of it is on the disk.

    Nothing stays when the writing fails or is interrupted; what a killed export left is removed by the next one to the
    same place. Raises MachineError when the disk is full or closed.
    """
    begin = f".{target.name}.exporting-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent, begin)
        _refuse_a_full_disk(target.parent, size + BESIDE)
        draft = Path(tempfile.mkdtemp(prefix=begin, dir=target.parent))
        try:
            with held(draft):
                yield draft
                _settle(draft)
            (draft / LOCK).unlink()
            if target.exists():
                target.rmdir()
            draft.replace(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as reason:
        raise MachineError.one(
            "EXPORT", f"the model cannot be written ({reason.strerror or reason})", str(target),
            "free some space, or choose another export_dir",
        ) from reason  # fmt: skip


def _remove_abandoned(folder: Path, begin: str) -> None:
    """Drafts that no living export holds."""
    for draft in folder.iterdir():
        if not draft.name.startswith(begin) or draft.is_symlink() or not draft.is_dir():
            continue
        try:
            with held(draft):
                pass
        except RecipeError:
            continue  # another export writes there now
        shutil.rmtree(draft, ignore_errors=True)
        say(f"removed what a killed export left: {draft.name}")


def _refuse_a_full_disk(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise MachineError.one(
            "DISK-ROOM", f"the export needs {in_units(size)}, {in_units(free)} are free", str(folder),
            "free some space, or choose another export_dir",
        )  # fmt: skip


def _settle(draft: Path) -> None:
    """Everything on the disk, with the permissions that new files have here."""
    mask = umask()
    for path in [*draft.rglob("*"), draft]:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
        _sync(path)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # folders have no such thing there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
