"""Where a run may write, and where it begins: the rules for output_dir, checkpoints and resuming."""

from __future__ import annotations

import errno
import json
import stat
from dataclasses import dataclass
from pathlib import Path

from hone.errors import CheckpointError, HoneError, MachineError, RecipeError
from hone.log import warn
from hone.rundir import CARD, is_draft
from hone.training.checkpoints.keeper import numbered, set_aside
from hone.training.checkpoints.manifest import MANIFEST, fault_of

STATE = "trainer_state.json"
WEIGHTS = (
    "adapter_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "adapter_model.bin",
)
MARKS = (
    "hone.json",
    "recipe.yaml",
    "recipe_predict.yaml",
    "trainer_log.jsonl",
    "all_results.json",
    "llamaboard_config.yaml",
    "running_log.txt",
)
"""One of these says that a folder is the run directory of an earlier run."""
HARMLESS = (".hone.lock", "runs", "bad_rows.jsonl", "training_args.yaml", "verify.json", "verify.md")


@dataclass(frozen=True)
class Start:
    """`checkpoint` is what to go on from (None: from the beginning); `stale` are checkpoints that the run replaces;
    `damaged` are newer ones that cannot be trusted, with what is wrong with each."""

    checkpoint: Path | None = None
    stale: tuple[Path, ...] = ()
    damaged: tuple[tuple[Path, str], ...] = ()

    def clear_the_way(self) -> None:
        """Keep the damaged checkpoints aside. Only where the folder is held, by the first process."""
        for path, what in self.damaged:
            set_aside(path, what)


def choose_start(folder: Path, *, overwrite: bool, resume: str | bool | None, train: bool) -> Start:
    """Look at output_dir, touch nothing, and say where the run begins.

    An explicit checkpoint wins; else the newest one in the folder whose manifest verifies, unless `overwrite`. Raises
    RecipeError when the folder holds something that training would destroy, MachineError when it cannot be looked
    into, CheckpointError when the checkpoint named is none, or when there are checkpoints and none is valid.
    """
    names = _look_into(folder)
    found = _checkpoints(folder) if names else []
    wanted = resume.lower() if isinstance(resume, str) else resume
    if not train:
        if not overwrite:
            _refuse_foreign(folder, names, found)
        return Start()
    if isinstance(resume, str) and wanted not in ("true", "false"):
        return Start(_named(Path(resume)))
    if wanted in (True, "true"):
        return _newest(folder, found) or _refuse_nothing(folder)
    if overwrite:
        return Start(stale=tuple(found))
    if found and resume is None:
        return _newest(folder, found) or Start()
    _refuse_weights(folder, names)
    _refuse_foreign(folder, names, found)
    return Start(stale=tuple(found))


def _checkpoints(folder: Path) -> list[Path]:
    """The `checkpoint-N` folders that a trainer made, damaged ones among them, by rising N."""
    return [path for path in numbered(folder) if any((path / name).exists() for name in (STATE, MANIFEST, CARD))]


def _newest(folder: Path, found: list[Path]) -> Start | None:
    """The newest valid checkpoint; None where there is none at all. Others' are passed over, damaged ones noted."""
    damaged: list[tuple[Path, str]] = []
    others: list[Path] = []
    for path in reversed(found):
        fault = fault_of(path)
        if fault is None:
            return Start(path, damaged=tuple(damaged))
        if _is_ours(path):
            damaged.append((path, fault))
        else:
            others.append(path)
            warn(f"{path} has no manifest (not made by Hone) and is passed over; resume_from_checkpoint can name it")
    if damaged or others:
        raise _none_valid(folder, [*damaged, *((path, f"no {MANIFEST}, not made by Hone") for path in others)])
    return None


def _is_ours(path: Path) -> bool:
    """Every checkpoint of Hone has a manifest and a run card; one of them may be what is missing."""
    return (path / MANIFEST).exists() or (path / CARD).exists()


def _none_valid(folder: Path, found: list[tuple[Path, str]]) -> HoneError:
    what = "; ".join(f"{path.name}: {fault}" for path, fault in found)
    return CheckpointError.one(
        "CKPT-DAMAGED", f"no checkpoint can be trusted ({what})", str(folder),
        "name another one in resume_from_checkpoint, or set overwrite_output_dir to begin anew",
    )  # fmt: skip


def _refuse_nothing(folder: Path) -> Start:
    raise CheckpointError.one(
        "CKPT-MISSING", "resume_from_checkpoint is true, but there is no checkpoint", str(folder),
        "leave resume_from_checkpoint out to begin anew",
    )  # fmt: skip


def _look_into(folder: Path) -> list[str]:
    """The names in the folder, none when it does not exist yet."""
    if "\0" in str(folder):
        raise _unusable(RecipeError, "holds a NUL character", folder)
    try:
        kind = folder.stat().st_mode
        if not stat.S_ISDIR(kind):
            raise _unusable(RecipeError, "is a file, not a folder", folder)
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as reason:
        wrong = RecipeError if reason.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINVAL) else MachineError
        raise _unusable(wrong, f"cannot be used ({reason.strerror})", folder) from None


def _unusable(kind: type[HoneError], what: str, folder: Path) -> HoneError:
    text = repr(str(folder))[1:-1]
    shown = text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"
    return kind.one("OUTPUT-DIR", f"output_dir {what}", shown, "name another folder")


def _refuse_weights(folder: Path, names: list[str]) -> None:
    held = [name for name in names if name in WEIGHTS]
    if held:
        raise RecipeError.one(
            "OUTPUT-DIR", f"output_dir holds weights ({held[0]}) but no checkpoint to resume from", str(folder),
            "choose another output_dir, or set overwrite_output_dir to train anew over them",
        )  # fmt: skip


def _refuse_foreign(folder: Path, names: list[str], found: list[Path]) -> None:
    """A folder that no run made, and that is not empty, is somebody's: leave it alone."""
    if found or any(name in MARKS or name in WEIGHTS for name in names):
        return
    foreign = [name for name in names if name not in HARMLESS and not is_draft(name)]
    if foreign:
        shown = ", ".join(foreign[:5]) + (" …" if len(foreign) > 5 else "")
        raise RecipeError.one(
            "OUTPUT-DIR", f"output_dir is not empty and not from a run of Hone ({shown})", str(folder),
            "choose another output_dir, or set overwrite_output_dir",
        )  # fmt: skip


def _named(folder: Path) -> Path:
    """A checkpoint that the user names: one of ours must be whole, one of another program must have its state."""
    if not _has_state(folder) and not _is_ours(folder):
        raise CheckpointError.one(
            "CKPT-MISSING", f"no checkpoint there (no readable {STATE})", str(folder),
            "name a checkpoint-N folder in resume_from_checkpoint",
        )  # fmt: skip
    fault = fault_of(folder) if _is_ours(folder) else None
    if fault is not None:
        valid = [path.name for path in _checkpoints(folder.parent) if path != folder and fault_of(path) is None]
        raise CheckpointError.one(
            "CKPT-DAMAGED", f"the checkpoint is damaged: {fault}", str(folder),
            f"valid beside it: {', '.join(valid)}" if valid else "there is no valid one beside it",
        )  # fmt: skip
    return folder


def _has_state(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / STATE).read_text("utf-8")), dict)
    except (OSError, ValueError):
        return False
