"""`hone plan`: what a training will take - memory by its parts, steps, tokens, disk, time - before it is begun."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hone.errors import MachineError
from hone.log import result
from hone.recipe import Recipe, read_recipe
from hone.training.budget import Budget, Way, budget, ways
from hone.training.checkpoints.room import Room, in_units, room_of


@dataclass(frozen=True)
class Plan:
    """Counts, bytes and seconds. `measured_peak` and `seconds` are those of the probe; None without one."""

    parameters: int
    trainable: int
    memory: Budget
    available: int
    device: str
    steps: int
    tokens: int
    longest_batch: int
    by_hand: bool
    recomputes: bool
    disk: Room
    disk_free: int
    seconds: float | None = None
    measured_peak: int | None = None
    ways: Sequence[Way] = field(default_factory=tuple)

    @property
    def fits(self) -> bool:
        """Whether memory and disk suffice."""
        return self.memory.total <= self.available and self.disk.least <= self.disk_free

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        found = asdict(self)
        found["memory"]["total"], found["disk"]["total"] = self.memory.total, self.disk.total
        return {**found, "fits": self.fits}

    def __str__(self) -> str:
        from hone.training.pace import clock

        how = "blocks run by hand" if self.by_hand else "blocks run by autograd"
        how += ", activations are computed again" if self.recomputes else ", activations are kept"
        parts = [f"  {name:<12}{in_units(size):>12}" for name, size in asdict(self.memory).items() if size]
        lines = [
            f"parameters      {self.parameters:,}, of which {self.trainable:,} learn "
            f"({self.trainable / max(self.parameters, 1):.3%})",
            f"memory          {in_units(self.memory.total)} of {in_units(self.available)} on {self.device} ({how})",
            *parts,
            f"work            {self.steps:,} steps, {self.tokens:,} tokens; the longest micro-batch has "
            f"{self.longest_batch:,}",
            f"disk            {in_units(self.disk.total)} ({self.disk.checkpoints} checkpoints of "
            f"{in_units(self.disk.checkpoint)}, final weights {in_units(self.disk.weights)}), "
            f"{in_units(self.disk_free)} free",
        ]
        if self.seconds is not None:
            lines.append(f"time            about {clock(self.seconds)} (from a probe of 3 steps)")
        if self.measured_peak is not None:
            lines.append(f"measured peak   {in_units(self.measured_peak)} in the probe")
        lines.append("it fits" if self.fits else "it does not fit")
        lines += [f"  {way.change}: {in_units(way.total)} ({way.cost})" for way in self.ways]
        return "\n".join(lines)


def run(words: Sequence[str]) -> int:
    """The verb: 0 when the training fits here, 6 when it does not."""
    in_json, probed = "--json" in words, "--no-probe" not in words
    recipe = read_recipe([word for word in words if word not in ("--json", "--no-probe")], verb="train")
    found = plan(recipe, probed=probed)
    result(json.dumps(found.as_dict(), ensure_ascii=False, indent=2) if in_json else str(found))
    return 0 if found.fits else MachineError.exit_code


def plan(recipe: Recipe, *, probed: bool = True) -> Plan:
    """Data are prepared and the model is built as a training would; nothing is written to output_dir."""
    from hone.runs.planning.gather import gather
    from hone.runs.planning.probe import probe

    made = gather(recipe)
    needed = budget(made.work)
    measured = probe(made) if probed and needed.total <= made.available else None
    passes = recipe.training.gradient_accumulation_steps
    batch = recipe.training.per_device_train_batch_size
    too_much = needed.total > made.available
    every = recipe.finetuning.finetuning_type == "full"
    return Plan(
        parameters=made.parameters,
        trainable=made.work.learning,
        memory=needed,
        available=made.available,
        device=str(made.device),
        steps=made.steps,
        tokens=made.tokens,
        longest_batch=made.work.tokens,
        by_hand=made.by_hand,
        recomputes=made.work.recomputes,
        disk=room_of(
            made.model, made.arguments, steps=made.steps, limit=made.arguments.save_total_limit,
            optimizer_bytes=round(made.work.state),
        ),
        disk_free=_free(Path(recipe.training.output_dir)),
        seconds=None if measured is None else measured.seconds_a_token * made.tokens,
        measured_peak=None if measured is None else measured.peak,
        ways=ways(made.work, batch=batch, passes=passes, available=made.available, every_weight=every)
        if too_much else (),
    )  # fmt: skip


def _free(folder: Path) -> int:
    """Bytes free where the folder is, or will be."""
    import shutil

    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free
