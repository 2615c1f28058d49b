"""`tokenized_path`: a run's examples in a folder of the user's choice, taken again only if they are the same ones."""

from __future__ import annotations

import json
import secrets
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.data import cache as store
from hone.data.book import Entry
from hone.data.examples import ExampleSet
from hone.data.pieces import Pieces, Writer, blocks_of
from hone.data.report import DataReport, SetReport
from hone.data.sources import files_at
from hone.errors import DataError, Fault, MachineError
from hone.log import say

if TYPE_CHECKING:
    from hone.recipe import DataSection

MANIFEST = "hone_tokenized.json"
OPTIONS = (
    "cutoff_len", "train_on_prompt", "mask_history", "on_overflow", "packing", "neat_packing",
    "preprocessing_batch_size", "mix_strategy", "interleave_probs", "max_samples", "val_size",
    "eval_on_each_dataset", "on_bad_row",
)  # fmt: skip
"""The settings that examples depend on."""


@dataclass(frozen=True)
class Saved:
    """What lies in the folder."""

    train: ExampleSet | None
    evals: Mapping[str, ExampleSet] = field(default_factory=dict)
    report: DataReport = field(default_factory=DataReport)


def inputs_of(
    data: DataSection, entries: Sequence[Entry], encoder: Any, *, stage: str, seed: int, train: bool
) -> dict[str, Any]:
    """Everything that the examples are made from, as plain values. Data that are not here (any more) are None: what
    was prepared may be taken to a machine without them."""
    sets = [[entry.name, entry.format, entry.ranking, entry.subset, entry.split, entry.num_samples,
             asdict(entry.columns), asdict(entry.tags)] for entry in entries]  # fmt: skip
    options = {name: getattr(data, name) for name in OPTIONS}
    whole = {
        "data sets": [entry.name for entry in entries],
        "data": [_content(entry) for entry in entries],
        "dataset_info.json": sets,
        "template or tokenizer": encoder.fingerprint(),
        "stage": stage,
        "seed": seed,
        "do_train": train,
        **options,
    }
    plain: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return plain


def _content(entry: Entry) -> str | None:
    if entry.place != "file":
        return f"{entry.place}:{entry.location}@{entry.revision}"
    try:
        return store.hash_of(files_at(entry.path))
    except (OSError, DataError):
        return None


def find(folder: Path, inputs: Mapping[str, Any]) -> Saved | None:
    """What lies in `folder`, if it is whole. Raises DataError where it was made from something else, naming that."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        before = manifest["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        fix = "name a new folder, or remove this one"
        raise DataError.one("DATA-TOKENIZED", "holds no data that Hone has prepared", str(folder), fix) from None
    _refuse_others(folder, before, inputs)
    try:
        if not manifest["complete"] or _sums(folder) != manifest["files"]:
            raise ValueError
        found = _open(folder, manifest)
    except (OSError, ValueError, KeyError, TypeError):
        say(f"tokenized_path: {folder} is damaged, made anew")
        shutil.rmtree(folder, ignore_errors=True)
        return None
    say(f"tokenized_path: taken from {folder}")
    return found


def _refuse_others(folder: Path, before: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    faults = []
    for name, now in inputs.items():
        then = before.get(name)
        if now == then or (name == "data" and _same_data(then, now)):
            continue
        short = all(len(str(value)) <= 40 for value in (then, now))
        values = f" ({then}, and now {now})" if short else ""
        what = f"was made with another {name}{values}" if name != "data" else "was made from other rows"
        faults.append(Fault("DATA-TOKENIZED", what, str(folder), "name another tokenized_path, or remove the folder"))
    DataError.all_of(faults)


def _same_data(then: Any, now: Any) -> bool:
    return len(then or ()) == len(now) and all(new in (None, old) for old, new in zip(then, now, strict=True))


def save(folder: Path, prepared: Any, inputs: Mapping[str, Any]) -> None:
    """Put the examples there; the folder appears whole or not at all. Raises MachineError where there is no room."""
    draft = folder.with_name(f"{folder.name}.tmp-{secrets.token_hex(4)}")
    for left in folder.parent.glob(f"{folder.name}.tmp-*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        names = list(prepared.evals)
        if prepared.train is not None:
            _write(draft / "train", prepared.train)
        for number, name in enumerate(names):
            _write(draft / f"eval-{number}", prepared.evals[name])
        manifest = {
            "complete": True, "inputs": inputs, "evals": names, "train": prepared.train is not None,
            "report": prepared.report.as_dict(), "files": _sums(draft),
        }  # fmt: skip
        (draft / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1), "utf-8")
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        draft.rename(folder)
    except OSError as fault:
        if not (folder / MANIFEST).exists():
            raise MachineError.one("DISK", fault.strerror or str(fault), str(folder), "free some room") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say(f"tokenized_path: saved to {folder}; the next run with the same data and settings starts from there")


def _write(folder: Path, examples: Iterable[Any]) -> None:
    folder.mkdir()
    writer = Writer(folder)
    for pieces in blocks_of(examples, 1000):
        writer.append(pieces)
    writer.close()


def _open(folder: Path, manifest: Mapping[str, Any]) -> Saved:
    def opened(name: str) -> ExampleSet:
        sums = json.dumps([[file, sum_] for file, sum_ in manifest["files"].items() if file.startswith(f"{name}/")])
        return ExampleSet.over(Pieces.open(folder / name), fingerprint=f"{zlib.crc32(sums.encode()):08x}")

    evals = {name: opened(f"eval-{number}") for number, name in enumerate(manifest["evals"])}
    return Saved(opened("train") if manifest["train"] else None, evals, _report(manifest["report"]))


def _report(plain: Mapping[str, Any]) -> DataReport:
    sets = {side: tuple(SetReport(**one) for one in plain[side]) for side in ("train", "evals")}
    return DataReport(**{**plain, **sets})


def _sums(folder: Path) -> dict[str, list[int]]:
    sums = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            value = 0
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 22):
                    value = zlib.crc32(chunk, value)
            sums[file.relative_to(folder).as_posix()] = [file.stat().st_size, value]
    return sums
