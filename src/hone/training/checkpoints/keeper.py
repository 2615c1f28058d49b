"""Who keeps the checkpoints of a run: commits each in one step, and only then lets older ones go."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hone.errors import HoneError, MachineError
from hone.log import say, warn
from hone.rundir import is_draft
from hone.training.checkpoints import manifest

DRAFT, TRASH, REPLACED = ".saving-", ".trash-", ".replaced-"
DISK_WORDS = ("inline_container", "PytorchStreamWriter", "No space left", "os error", "I/O error")
"""Words by which the libraries say that a file could not be written, where they do not raise OSError."""


class Keeper:
    """Checkpoints of one run directory.

    A checkpoint is made in a hidden folder, brought to the disk, sealed by its manifest, and put in place by a single
    rename. What it replaces is moved out of sight by a rename too, before it is deleted. So each name is always a
    whole checkpoint or absent, whenever the process ends. Only the first process calls `commit`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit: int | None = None,
        facts: Mapping[str, Any] | None = None,
        stale: Sequence[Path] = (),
        alone: bool = True,
    ) -> None:
        self.folder, self.limit, self.alone = folder, limit, alone
        self.facts = dict(facts or {})
        self.stale = tuple(stale)
        """Checkpoints of the run that this one overwrites: they go when something newer is on the disk."""
        self.failure: HoneError | None = None
        """Why the last checkpoint could not be saved; None when it could."""
        self.last: Path | None = None
        """The newest checkpoint that this run has committed."""

    def place(self, step: int) -> Path:
        """Where the checkpoint of a step stands once it is committed."""
        return self.folder / f"checkpoint-{step}"

    def draft(self, step: int) -> Path:
        """The hidden folder that the checkpoint is made in, under its name."""
        return self.folder / f"{DRAFT}{step}"

    def begin(self, step: int) -> None:
        """Clear the place of a draft; what an earlier attempt left is of no use."""
        shutil.rmtree(self.draft(step), ignore_errors=True)

    def commit(self, step: int, *, best: Path | None = None) -> None:
        """Seal the draft, put it in place, and let go of what is then too much. Raises OSError."""
        made = self.draft(step) / self.place(step).name
        manifest.seal(made, {"step": step, **self.facts})
        place = self.place(step)
        if place.is_dir():  # of a run that is overwritten, or taken up at an earlier step
            shutil.rmtree(_replaced(place), ignore_errors=True)
            place.rename(_replaced(place))
        made.rename(place)
        manifest.sync_folder(self.folder)
        self.failure, self.last = None, place
        self.forget_stale()
        self._rotate(best)
        self.sweep()

    def fail(self, step: int, reason: BaseException) -> None:
        """A checkpoint could not be written: say so, leave the older ones as they are, and go on, where that can be.

        Several processes cannot go on with one of them out of step; there the fault is raised.
        """
        self.failure = _fault(self.place(step), reason)
        shutil.rmtree(self.draft(step), ignore_errors=True)
        if not self.alone:
            raise self.failure from None
        for fault in self.failure.faults:
            say(str(fault))

    def settle(self) -> None:
        """At the end of a run: raise if its last checkpoint could not be saved."""
        if self.failure is not None:
            raise self.failure

    def sweep(self) -> None:
        """Mend what a run that was killed left half done. Nobody else works here: the folder is held."""
        for path in self.folder.glob(f"{REPLACED}*"):
            place = self.folder / path.name.removeprefix(REPLACED)
            if place.exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(place)
        for path in (*self.folder.glob(f"{DRAFT}*"), *self.folder.glob(f"{TRASH}*")):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(".*"):
            if is_draft(path.name) and path.is_file():
                path.unlink(missing_ok=True)

    def forget_stale(self) -> None:
        """Let the overwritten run's checkpoints go; only called when something newer is on the disk."""
        for path in self.stale:
            if path != self.last:
                self._throw(path)
        self.stale = ()

    def _rotate(self, best: Path | None) -> None:
        """Keep the newest, the best, and as many more as the limit allows."""
        if not self.limit or self.limit < 1:
            return
        kept = [path for path in numbered(self.folder) if path not in self.stale]
        spared = {path for path in (kept[-1], best) if path in kept}
        rest = [path for path in kept if path not in spared]
        for path in rest[: max(len(kept) - max(self.limit, len(spared)), 0)]:
            self._throw(path)

    def _throw(self, path: Path) -> None:
        if path.is_dir():
            trash = path.with_name(f"{TRASH}{path.name}")
            shutil.rmtree(trash, ignore_errors=True)
            path.rename(trash)
            shutil.rmtree(trash, ignore_errors=True)


def _replaced(place: Path) -> Path:
    return place.with_name(f"{REPLACED}{place.name}")


def numbered(folder: Path) -> list[Path]:
    """The folders named `checkpoint-N`, by rising N."""
    found = [(path.name.rpartition("-")[2], path) for path in folder.glob("checkpoint-*") if path.is_dir()]
    return [path for _, path in sorted((int(number), path) for number, path in found if number.isdecimal())]


def is_disk(reason: BaseException) -> bool:
    """Whether a fault is one of the disk's: full, read-only, broken."""
    if isinstance(reason, OSError | MachineError):
        return True
    kind = type(reason).__name__
    return kind in ("RuntimeError", "SafetensorError") and any(words in str(reason) for words in DISK_WORDS)


def set_aside(path: Path, what: str) -> None:
    """Keep a damaged checkpoint under another name, and say so."""
    aside = path.with_name(f"{path.name}.corrupt")
    number = 2
    while aside.exists():
        aside, number = path.with_name(f"{path.name}.corrupt-{number}"), number + 1
    with suppress(OSError):
        path.rename(aside)
        warn(f"{path} is damaged: {what}; kept aside as {aside.name}")


def _fault(place: Path, reason: BaseException) -> HoneError:
    number = getattr(reason, "errno", None) or getattr(reason.__cause__, "errno", None)
    free = _free(place.parent)
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(reason) or free < 1 << 20
    denied = number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
    code = "CKPT-ENOSPC" if full else "CKPT-PERM" if denied else "CKPT-WRITE"
    why = getattr(reason, "strerror", None) or str(reason).strip().splitlines()[0]
    room = f"{free / 1e6:,.0f} MB are free" + (f", the draft had {_size(place):,.1f} MB" if _size(place) else "")
    return MachineError.one(
        code, f"{place.name} could not be saved ({why})", str(place.parent),
        f"{room}; older checkpoints are intact; free some space or mend the permissions",
    )  # fmt: skip


def _free(folder: Path) -> float:
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:
        return float("inf")


def _size(place: Path) -> float:
    made = place.parent / f"{DRAFT}{place.name.rpartition('-')[2]}"
    with suppress(OSError):
        return sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) / 1e6
    return 0.0
