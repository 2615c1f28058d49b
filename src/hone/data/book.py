"""`dataset_info.json`: which data sets there are, where their rows lie and how their columns are called."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from hone.dialogue.template import Words
from hone.errors import DataError, Fault

BOOK = "dataset_info.json"
ONLINE = "ONLINE"
REMOTE = "REMOTE:"
"""Before the name of a repository of the hub that holds the book."""
Place = Literal["hf_hub", "ms_hub", "om_hub", "cloud_file", "file"]


@dataclass(frozen=True)
class Columns:
    """Which key of a row holds what. None: rows have no such thing."""

    prompt: str | None = None
    query: str | None = None
    response: str | None = None
    history: str | None = None
    messages: str | None = None
    system: str | None = None
    tools: str | None = None
    images: str | None = None
    videos: str | None = None
    audios: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    kto_tag: str | None = None


@dataclass(frozen=True)
class Tags:
    """How messages name their role and content, and how the roles are called. None: there is no such role."""

    role_tag: str | None = None
    content_tag: str | None = None
    user_tag: str | None = None
    assistant_tag: str | None = None
    observation_tag: str | None = None
    function_tag: str | None = None
    system_tag: str | None = None


USUAL_COLUMNS = Columns("instruction", "input", "output", messages="conversations")
USUAL_TAGS = Tags("from", "value", "human", "gpt", "observation", "function_call", "system")
OPEN_COLUMNS = Columns(
    "instruction", "input", "output", "history", "conversations", "system", "tools", "images", "videos", "audios"
)
"""What is looked for in the rows of a set that no book describes."""
AUTO = "auto"
"""The format that is recognised from each row."""


@dataclass(frozen=True)
class Entry:
    """One data set of the book. `location` is a path, a hub id or a URL, as `place` says.

    `words` may stand around thoughts and calls in its texts: the model family's own, and those that all sets use.
    `declared`: somebody said how its rows are laid out; otherwise that is recognised from each row.
    """

    name: str
    place: Place
    location: str
    formatting: str = "alpaca"
    ranking: bool = False
    subset: str | None = None
    split: str = "train"
    folder: str | None = None
    revision: str | None = None
    num_samples: int | None = None
    columns: Columns = USUAL_COLUMNS
    tags: Tags = USUAL_TAGS
    root: Path = field(default_factory=Path)
    words: tuple[Words, ...] = ()
    declared: bool = True

    def __hash__(self) -> int:
        # Taken for every row whose format is recognised: two entries that differ elsewhere only are told apart by ==.
        return hash((self.name, self.location))

    @property
    def path(self) -> Path:
        """Where the rows lie; for `place == "file"` only."""
        return self.root / self.location

    @property
    def format(self) -> str:
        """How rows are read: as declared, or as each row looks."""
        return self.formatting if self.declared else AUTO


SOURCES = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name")
PLAIN = ("formatting", "ranking", "subset", "split", "folder", "revision", "num_samples", "columns", "tags")
# `file_sha1` stood in older books and never did anything.
HUBS: dict[Place, str] = {"hf_hub": "hf_hub_url", "ms_hub": "ms_hub_url", "om_hub": "om_hub_url"}
KNOWN = (*SOURCES, *PLAIN, "file_sha1")


def look_up(names: Sequence[str], dataset_dir: str | Path | Mapping[str, Any]) -> tuple[Entry, ...]:
    """The entries of `names`, in that order; all faults at once as a DataError.

    A name that the book does not have may be the path of a file or folder. `dataset_dir` is a folder with
    `dataset_info.json`, "ONLINE" (names are hub ids), "REMOTE:<repository>"
    (the book lies on the hub), or the book's content itself.
    """
    if not names:
        return ()
    if dataset_dir == ONLINE:
        return tuple(Entry(name, _hub(), name, declared=False) for name in names)
    if isinstance(dataset_dir, str) and dataset_dir.startswith(REMOTE):
        from hone.data.places.hf_hub import fetch_book

        dataset_dir = fetch_book(dataset_dir.removeprefix(REMOTE)).parent
    root = Path() if isinstance(dataset_dir, Mapping) else Path(dataset_dir)
    paths = {name: path for name in names if (path := _path(name, root)) is not None}
    # Without a book, names that are paths are enough.
    bookless = not isinstance(dataset_dir, Mapping) and not (root / BOOK).exists() and len(paths) == len(set(names))
    book = dataset_dir if isinstance(dataset_dir, Mapping) else {} if bookless else _read(root / BOOK)
    faults: list[Fault] = []
    found = [
        _unregistered(name, paths[name]) if name in paths and name not in book else _entry(name, book, root, faults)
        for name in names
    ]
    DataError.all_of(faults)
    return tuple(entry for entry in found if entry is not None)


def _path(name: str, root: Path) -> Path | None:
    """The file or folder that `name` is the path of: as it stands, or below dataset_dir. The user's own word: it may
    lie anywhere. A bare word without an ending is a name."""
    if "\0" in name or not ("/" in name or os.sep in name or "." in name):
        return None
    places = (Path(name).expanduser(), root / name)
    return next((place for place in places if place.exists()), None)


def _unregistered(name: str, path: Path) -> Entry:
    whole = path.absolute()
    return Entry(name, "file", whole.name, columns=OPEN_COLUMNS, root=whole.parent, declared=False)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise DataError.one("DATA-BOOK", "no such file", str(path), "set dataset_dir to its folder") from None
    except OSError as fault:
        raise DataError.one("DATA-BOOK", fault.strerror or "cannot be read", str(path)) from None
    except UnicodeDecodeError as fault:
        raise DataError.one("DATA-BOOK", f"not UTF-8 at byte {fault.start}", str(path), "save it as UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as fault:
        where = f"{path}:{fault.lineno}:{fault.colno}" if isinstance(fault, json.JSONDecodeError) else str(path)
        raise DataError.one("DATA-BOOK", "not valid JSON", where, getattr(fault, "msg", "")) from None
    if not isinstance(content, dict):
        raise DataError.one("DATA-BOOK", "not an object", str(path), 'write {"name": {"file_name": "…"}}')
    return content


def _entry(name: str, book: Mapping[str, Any], root: Path, faults: list[Fault]) -> Entry | None:
    if name not in book:
        faults.append(_unknown(name, book, root))
        return None
    content = book[name]
    where = f"{root / BOOK}: {name}"
    if not isinstance(content, dict):
        faults.append(Fault("DATA-BOOK", "the entry is not an object", where, '{"file_name": "…"}'))
        return None
    found = list(_unknown_keys(content, where))
    faults.extend(found)
    place = _place(content, where, faults)
    columns = _named(Columns, content, "columns", USUAL_COLUMNS, where, faults)
    tags = _named(Tags, content, "tags", USUAL_TAGS, where, faults)
    plain = _plain(content, where, faults)
    if place is None:
        return None
    declared = any(content.get(key) is not None for key in ("formatting", "columns", "tags", "ranking"))
    return replace(Entry(name, place[0], place[1], columns=columns, tags=tags, root=root, declared=declared), **plain)


def _unknown(name: str, book: Mapping[str, Any], root: Path) -> Fault:
    if "/" not in name and os.sep not in name and not Path(name).suffix:
        return Fault("DATA-NAME", f"no data set `{name}`", str(root / BOOK), _nearest(name, book))
    what = f"no data set and no file or folder `{name}`"
    fix = f"looked in the book, in {Path.cwd()} and in {root.absolute()}; for a set on a hub set dataset_dir: ONLINE"
    return Fault("DATA-NAME", what, str(root / BOOK), fix)


def _unknown_keys(content: Mapping[str, Any], where: str) -> list[Fault]:
    unknown = [key for key in content if key not in KNOWN]
    return [Fault("DATA-KEY", f"no such key `{key}`", where, _nearest(key, (*SOURCES, *PLAIN))) for key in unknown]


def _place(content: Mapping[str, Any], where: str, faults: list[Fault]) -> tuple[Place, str] | None:
    given = {key: content[key] for key in SOURCES if content.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            faults.append(Fault("DATA-VALUE", f"`{key}` is not a text", where))
            return None
    hubs = {place: given[key] for place, key in HUBS.items() if key in given}
    if hubs:
        place = next(wanted for wanted in (_hub(), *hubs) if wanted in hubs)
        return place, hubs[place]
    if "script_url" in given:
        fix = "it ran code from the data set; write its rows to a JSON or JSONL file and name that as file_name"
        faults.append(Fault("DATA-SCRIPT", "dataset scripts are not supported (script_url)", where, fix))
        return None
    if "cloud_file_name" in given:
        return "cloud_file", given["cloud_file_name"]
    if "file_name" not in given:
        faults.append(Fault("DATA-KEY", "no `file_name`", where, "say in which file the rows are"))
        return None
    return _inside(given["file_name"], where, faults)


def _inside(name: str, where: str, faults: list[Fault]) -> tuple[Place, str] | None:
    # A book from elsewhere must not reach files outside its folder, in either spelling of paths.
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    outside = ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    if outside:
        fix = "move the file below dataset_dir, or set dataset_dir to the folder that holds it"
        faults.append(Fault("DATA-OUTSIDE", f"file_name `{name}` is outside dataset_dir", where, fix))
        return None
    return "file", name


def _named(kind: type[Any], content: Mapping[str, Any], key: str, usual: Any, where: str, faults: list[Fault]) -> Any:
    """Columns or tags. Once a user gives any, those left out are none."""
    given = content.get(key)
    if given is None:
        return usual
    if not isinstance(given, dict):
        faults.append(Fault("DATA-VALUE", f"`{key}` is not an object", where))
        return usual
    known = [item.name for item in fields(kind)]
    for name, value in given.items():
        if name not in known:
            faults.append(Fault("DATA-KEY", f"no such key `{key}.{name}`", where, _nearest(name, known)))
        elif value is not None and not isinstance(value, str):
            faults.append(Fault("DATA-VALUE", f"`{key}.{name}` is not a text", where))
    return kind(**{name: value for name, value in given.items() if name in known and isinstance(value, str)})


def _plain(content: Mapping[str, Any], where: str, faults: list[Fault]) -> dict[str, Any]:
    kinds: dict[str, type[Any]] = {
        "formatting": str, "ranking": bool, "subset": str, "split": str, "folder": str,
        "revision": str, "num_samples": int,
    }  # fmt: skip
    taken: dict[str, Any] = {}
    for key, kind in kinds.items():
        value = content.get(key)
        if value is None:
            continue
        if type(value) is not kind or (key == "num_samples" and value < 1):
            wanted = {str: "a text", bool: "true or false", int: "a whole number above 0"}[kind]
            faults.append(Fault("DATA-VALUE", f"`{key}` is not {wanted}", where))
        else:
            taken[key] = value
    return taken


def _hub() -> Place:
    if os.environ.get("USE_MODELSCOPE_HUB", "").lower() in ("1", "true", "y"):
        return "ms_hub"
    return "om_hub" if os.environ.get("USE_OPENMIND_HUB", "").lower() in ("1", "true", "y") else "hf_hub"


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(f"`{item}`" for item in near) + "?"
    return "known: " + ", ".join(sorted(known)[:20])
