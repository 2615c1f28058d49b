"""The folder is the registry: the names of a package's files, and the module that a name or a user's file means."""

from __future__ import annotations

import importlib
import importlib.util
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).parent


@cache
def names(package: str, suffix: str = ".py") -> tuple[str, ...]:
    """The names that lie in a package of Hone, sorted, without importing it: `names("hone.stages")` → `("pt", "sft")`.

    `suffix` may name data files (`.toml`). Files that begin with `_` are no names; a missing folder has none.
    """
    folder = _ROOT.joinpath(*package.split(".")[1:])
    found = folder.iterdir() if folder.is_dir() else ()
    return tuple(sorted(file.stem for file in found if file.suffix == suffix and not file.name.startswith("_")))


@cache
def find(package: str, name: str) -> ModuleType:
    """The module `name` of a package. Raises LookupError with the nearest name if there is no such file."""
    known = names(package)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
        raise LookupError(f"no {name} in {package}; {hint}")
    return importlib.import_module(f"{package}.{name}")


def load_file(path: Path) -> ModuleType:
    """A Python file of the user's own, which is run. Raises ImportError, and whatever the file raises."""
    spec = importlib.util.spec_from_file_location(f"hone_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
