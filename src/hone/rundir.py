"""The places Hone writes to: the run directory with its card and lock, and the cache; files whole or not at all."""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from hone import __version__
from hone.errors import MachineError, ModelError, RecipeError

CARD = "hone.json"
LOCK = ".hone.lock"


def cache_root() -> Path:
    """The folder for what can be fetched or made again: `HONE_CACHE`, else `~/.cache/hone`; made if missing.

    Raises MachineError naming the path when nothing can be written there.
    """
    given = os.environ.get("HONE_CACHE")
    root = Path(given).expanduser() if given else Path.home() / ".cache" / "hone"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError("not writable")
    except OSError as reason:
        raise MachineError.one(
            "CACHE-DIR", f"the cache folder cannot be used ({reason.strerror or reason})", str(root),
            "set HONE_CACHE to a folder that can be written",
        ) from None  # fmt: skip
    return root


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader, or a crash, sees the old file or the new one and nothing between."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def is_draft(name: str) -> bool:
    """Whether a file is one that `write_text` had not finished when its process was killed."""
    return re.fullmatch(r"\..+\.[a-z0-9_]{8}", name) is not None


def write_json(path: Path, value: Any) -> None:
    """`write_text` of the value as indented JSON, keys in the order given."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def umask() -> int:
    """The permissions that new files here must not have."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@dataclass(frozen=True)
class RunCard:
    """What must be the same when a tuned model is asked as when it was taught: `hone.json` beside the weights."""

    template: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    template_fingerprint: str | None = None
    base_model: str | None = None
    base_fingerprint: str | None = None
    stage: str | None = None
    finetuning_type: str | None = None
    base_bits: int | None = None
    """Bits of the base's weights while the adapter learned; None for weights as they are."""
    hone_version: str = __version__
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def write_card(folder: Path, card: RunCard) -> None:
    """Put the card into the folder."""
    write_json(folder / CARD, asdict(card))


def read_card(folder: Path) -> RunCard | None:
    """The folder's card, or None when it has none; keys of a later Hone are passed over. ModelError when damaged."""
    path = folder / CARD
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict) or not all(_fits(key, value) for key, value in found.items()):
            raise ValueError("not an object of the expected shape")
        return RunCard(**{key.name: found[key.name] for key in fields(RunCard) if key.name in found})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as reason:
        raise ModelError.one(
            "RUN-CARD", f"the run card cannot be read ({reason})", str(path),
            "restore the file, or remove it and name the template in the recipe",
        ) from None  # fmt: skip


def _fits(key: str, value: Any) -> bool:
    if key == "template_options":
        return isinstance(value, dict)
    if key == "base_bits":
        return value is None or isinstance(value, int)
    return value is None or isinstance(value, str) or key not in {known.name for known in fields(RunCard)}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run directory for this process, so that two runs cannot write into one.

    The operating system drops the lock when the process ends, however it ends: a killed run never blocks the next.
    Raises RecipeError naming the process that holds the folder, MachineError when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as reason:
        raise MachineError.one(
            "OUTPUT-DIR", f"the folder cannot be written ({reason.strerror or reason})", str(folder),
            "choose another output_dir, or mend its permissions",
        ) from None  # fmt: skip
    with file:
        if not _lock(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RecipeError.one(
                "RUN-IN-USE", f"output_dir is in use by pid {holder}", str(folder),
                "wait for that run, stop it, or choose another output_dir",
            )  # fmt: skip
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()


def _lock(file: IO[str]) -> bool:
    """Try for the exclusive lock. A file system without locks counts as free: better unguarded than unusable."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(2**20)  # a byte that is never written, so that the name of the holder stays readable
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            # A record lock, not flock: worker processes do not inherit it and so cannot keep a dead run's folder.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (PermissionError, BlockingIOError):
        return False
    except OSError:
        return True
    return True
