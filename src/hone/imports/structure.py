"""What the folders of transformers export, kept in the cache: the library reads 2,000 files at every start to know."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hone.imports.hooks import during_import
from hone.rundir import cache_root, write_text

READER = "transformers.utils.import_utils"
WHOLE = "models"
"""The folder that is worth it; those below it have a few files each."""

KEPT = 4
"""Environments that may share a cache without pushing each other out."""

Structure = dict[frozenset[str], dict[str, set[str]]]
"""Packages that are needed → module → the names it exports."""


def keep_structures() -> None:
    """From now on, when transformers is imported, it is told what it exports, as far as its files have not changed."""
    during_import(READER, _remembers)


@contextmanager
def _remembers() -> Iterator[None]:
    """Changes one of its functions as soon as the reader is run."""
    yield
    module: Any = sys.modules[READER]
    if hasattr(module, "define_import_structure"):
        module.define_import_structure = remembering(module.define_import_structure)


def remembering(define: Callable[..., Structure]) -> Callable[..., Structure]:
    """`define`, asked only once for the whole library as long as no file of it changes."""
    found: dict[Path, Structure] = {}

    def define_import_structure(module_path: str | Path, prefix: str | None = None) -> Structure:
        folder = Path(module_path)
        folder = folder.parent if folder.is_file() else folder
        if folder.name != WHOLE:
            return define(module_path, prefix)
        if folder not in found:
            found[folder] = _kept(folder, lambda: define(str(folder)))
        start = "" if prefix is None else f"{prefix}."
        return {
            needs: {start + name: set(exported) for name, exported in modules.items()}
            for needs, modules in found[folder].items()
        }

    return define_import_structure


def _kept(folder: Path, make: Callable[[], Structure]) -> Structure:
    """From the cache, else made and put there; a cache that cannot be used is no reason to stop."""
    try:
        place = cache_root() / "imports" / f"transformers-{_state(folder)}.json"
        if place.is_file():
            told = json.loads(place.read_text(encoding="utf-8"))
            return {frozenset(needs): {name: set(names) for name, names in held.items()} for needs, held in told}
    except Exception:
        return make()
    made = make()
    plain = [[sorted(needs), {name: sorted(names) for name, names in held.items()}] for needs, held in made.items()]
    try:
        place.parent.mkdir(exist_ok=True)
        for old in sorted(place.parent.glob("transformers-*.json"), key=os.path.getmtime)[: -KEPT + 1]:
            old.unlink(missing_ok=True)
        write_text(place, json.dumps(plain))
    except Exception:
        return made
    return made


def _state(folder: Path) -> str:
    """A mark of all Python files below a folder, and of the reader itself: names, sizes, times."""
    whole = hashlib.sha256(str(folder).encode())
    for line in sorted(_files(str(folder))):
        whole.update(line.encode())
    reader = folder.parent / "utils" / "import_utils.py"
    whole.update(str(reader.stat().st_mtime_ns).encode())
    return whole.hexdigest()[:20]


def _files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _files(entry.path)
            elif entry.name.endswith(".py"):
                seen = entry.stat()
                yield f"{entry.path}\0{seen.st_size}\0{seen.st_mtime_ns}\n"
