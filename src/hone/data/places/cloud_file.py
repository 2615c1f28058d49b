"""Files in a cloud (`s3://`, `gs://` …), through fsspec: copied once, and again when they have changed there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hone.data.book import Entry
from hone.data.places import once
from hone.data.sources._open import inner
from hone.errors import DataError, HoneError, MachineError

ANONYMOUS: Mapping[str, dict[str, Any]] = {
    "s3": {"anon": True}, "s3a": {"anon": True}, "gs": {"token": "anon"}, "gcs": {"token": "anon"},
}  # fmt: skip
"""How each store is asked without credentials; that is tried first."""
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "oss": "ossfs"}
MARKS = ("size", "ETag", "etag", "mtime", "LastModified", "updated", "created")
"""What stores say of a file that changes when the file does."""
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "hdfs", "https", "http", "memory")
"""No local files, no chains of file systems: a book from elsewhere must not reach what is on this machine."""


def fetch(entry: Entry, folder: Path) -> Path:
    """The copy of the file, or the folder with copies of the files, that lie at the entry's URL."""
    store = entry.location.partition("://")[0]
    if "://" not in entry.location or "::" in entry.location or store not in STORES:
        fix = f"a URL that begins with one of: {', '.join(STORES)}"
        raise DataError.one("DATA-CLOUD", f"`{entry.location}` is not a place that is read", entry.name, fix)
    try:
        system, files = _found(entry.location, store)
        mark = {name: {key: system.info(name).get(key) for key in MARKS} for name in files}
        key = hashlib.sha256(json.dumps([entry.location, mark], default=str).encode()).hexdigest()[:24]
        place = once(folder / f"cloud-{key}", lambda draft: _copy(system, files, draft))
    except HoneError:
        raise
    except ImportError as fault:
        fix = f"pip install {PACKAGES.get(store, 'what it names')}"
        raise MachineError.one("PACKAGE", f"{store}:// needs another package ({fault})", entry.name, fix) from None
    except FileNotFoundError:
        raise DataError.one("DATA-FILE", "no such file", entry.location, "check cloud_file_name") from None
    except Exception as fault:
        said = (str(fault).strip() or type(fault).__name__).splitlines()[0][:200]
        raise MachineError.one(
            "CLOUD", f"cannot be reached ({said})", entry.location, "check the connection and the credentials"
        ) from None
    return place


def _found(url: str, store: str) -> tuple[Any, list[str]]:
    """The file system and the paths of the files, without credentials if the store lets us."""
    import fsspec

    for options in ([ANONYMOUS[store]] if store in ANONYMOUS else []) + [{}]:
        system, path = fsspec.core.url_to_fs(url, **options)
        try:
            return system, _files(system, path)
        except (PermissionError, OSError):
            if not options:
                raise
    raise FileNotFoundError(url)


def _files(system: Any, path: str) -> list[str]:
    if system.isfile(path):
        return [path]
    found = [one["name"] for one in system.ls(path, detail=True) if one["type"] == "file"]
    files = sorted(name for name in found if not PurePosixPath(name).name.startswith("."))
    if not files:
        raise FileNotFoundError(path)
    return files


def _copy(system: Any, files: list[str], folder: Path) -> None:
    for name in files:
        target = folder / PurePosixPath(name.partition("?")[0]).name
        assert inner(target).name not in ("", ".", "..")
        system.get_file(name, str(target))
