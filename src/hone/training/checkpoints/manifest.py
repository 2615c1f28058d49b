"""The manifest of a checkpoint: the size and hash of each file, written last. A folder is a checkpoint if it agrees."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = "manifest.json"
FORMAT = 1


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Bring all files of the folder to the disk, then the manifest with `facts` (plain JSON values) beside it.

    Raises OSError.
    """
    files = {}
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": digest}
    for place in sorted({path.parent for path in _files(folder)}, reverse=True):
        sync_folder(place)
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="\n") as file:
        json.dump({"format": FORMAT, **facts, "files": files}, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def read(folder: Path) -> dict[str, Any]:
    """The manifest. Raises OSError or ValueError when there is none that can be read."""
    found = json.loads((folder / MANIFEST).read_text("utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise ValueError("not the shape of a manifest")
    return found


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words that name the file; None when every byte is as it was written."""
    try:
        files = read(folder)["files"]
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError) as reason:
        return f"{MANIFEST} cannot be read ({reason})"
    return next((fault for name, about in files.items() if (fault := _fault(folder, name, about))), None)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can (Windows cannot, and need not)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fault(folder: Path, name: str, about: Any) -> str | None:
    if not isinstance(about, dict) or ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
        return f"{MANIFEST} names {name!r}, which cannot be"
    try:
        with (folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != about.get("size"):
                return f"{name} has {size} bytes, not {about.get('size')}"
            if hashlib.file_digest(file, "sha256").hexdigest() != about.get("sha256"):
                return f"{name} is not as it was written (its hash differs)"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as reason:
        return f"{name} cannot be read ({reason.strerror})"
    return None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST)
