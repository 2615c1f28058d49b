"""`hone replay RUN`: carry the recipe of a finished run out again, elsewhere, and compare the numbers."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hone.errors import CheckpointError, RecipeError
from hone.log import MASK, result, warn
from hone.runs.record import FILE

USAGE = "RUN [--output_dir FOLDER]"
COMPARED = ("loss", "grad_norm", "learning_rate")
FACTS = {"data": "the training data", "encoding": "template or tokenizer", "model": "the base model"}


def run(words: Sequence[str]) -> int:
    """The verb. 0: every number is the same; 5: some are not, or what they are made from has changed."""
    run_folder, place = _words(words)
    before = read_record(run_folder)
    if place is not None:
        return _replay(before, Path(place))
    with tempfile.TemporaryDirectory(prefix="hone-replay-") as folder:
        return _replay(before, Path(folder) / "run")


def read_record(folder: Path) -> dict[str, Any]:
    """What `run.json` says. RecipeError where there is none that can be read."""
    try:
        found = json.loads((folder / FILE).read_text("utf-8"))
        if not isinstance(found, dict) or not all(isinstance(found.get(key), dict) for key in ("recipe", "results")):
            raise ValueError("not the record of a run")
        return found
    except (OSError, ValueError) as reason:
        raise RecipeError.one(
            "REPLAY-RECORD", f"no {FILE} that can be read ({reason})", str(folder), "name the output_dir of a run"
        ) from None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """One line for each thing that is not the same: what the runs were made from first, then the numbers."""
    for key, name in FACTS.items():
        if before.get(key) != after.get(key):
            yield f"{name}: was {before.get(key)}, is {after.get(key)}"
    old, new = before["results"], after["results"]
    if old["steps"] != new["steps"]:
        yield f"steps: were {old['steps']}, are {new['steps']}"
    for one, other in zip(old["course"], new["course"], strict=False):
        for name in COMPARED:
            if name in one and one[name] != other.get(name):
                yield f"step {one['step']}: {name} was {one[name]!r}, is {other.get(name)!r}{_apart(one, other, name)}"
    for name in old["evaluation"]:
        if old["evaluation"][name] != new["evaluation"].get(name):
            yield f"evaluation: {name} was {old['evaluation'][name]!r}, is {new['evaluation'].get(name)!r}"


def _replay(before: Mapping[str, Any], folder: Path) -> int:
    from hone.recipe import settle
    from hone.runs.train import train

    values = {key: value for key, value in before["recipe"].items() if value != MASK}
    values |= {"output_dir": str(folder), "overwrite_output_dir": False, "resume_from_checkpoint": "false"}
    _warn_versions(before)
    train(settle(values, verb="train"))
    found = list(differences(before, read_record(folder)))
    for line in found:
        result(line)
    steps = len(before["results"]["course"])
    if found:
        raise CheckpointError.one("REPLAY", f"{len(found)} numbers or facts differ from the recorded run", str(folder))
    result(f"the same: {before['results']['steps']} steps, {steps} logged losses and gradient norms, to the last bit")
    return 0


def _warn_versions(before: Mapping[str, Any]) -> None:
    from hone.runs.record import versions

    now = versions()
    for name, old in before.get("versions", {}).items():
        if now.get(name) != old:
            warn(f"{name} was {old} and is {now.get(name, 'not installed')}: numbers may differ in their last digits")


def _apart(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> str:
    a, b = one[name], other.get(name)
    if not isinstance(a, float) or not isinstance(b, float) or not math.isfinite(a) or not a:
        return ""
    return f" ({abs(b - a) / abs(a):.1e} apart)"


def _words(words: Sequence[str]) -> tuple[Path, str | None]:
    rest = list(words)
    place = None
    if "--output_dir" in rest:
        at = rest.index("--output_dir")
        place = rest[at + 1] if at + 1 < len(rest) else None
        del rest[at : at + 2]
    if len(rest) != 1 or rest[0].startswith("-"):
        raise RecipeError.one("CLI-USAGE", f"usage: hone replay {USAGE}", "", "name one run directory")
    return Path(rest[0]), place
