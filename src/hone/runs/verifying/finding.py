"""What a check found, and the list of all checks as JSON and as a page to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hone.training.exactness import Apart

Verdict = Literal["holds", "fails", "does not apply"]


@dataclass(frozen=True)
class Finding:
    """`detail` says why a check fails or does not apply, or what it looked at; `loss` and `gradient` are how far the
    two ways were apart (by their sizes), where there are two."""

    name: str
    title: str
    verdict: Verdict
    detail: str = ""
    loss: float | None = None
    gradient: float | None = None

    def __str__(self) -> str:
        apart = f"loss apart {self.loss:.1e}, gradients {self.gradient:.1e}" if self.loss is not None else ""
        more = "; ".join(part for part in (self.detail, apart) if part)
        return f"{self.verdict:<14}  {self.title}" + (f": {more}" if more else "")


@dataclass(frozen=True)
class Report:
    """All findings, and of what: model, stage and tuner, what stood in for the model, what was left out."""

    model: str
    stage: str
    tuner: str
    subject: str
    rows: int
    notes: Sequence[str]
    findings: Sequence[Finding]

    @property
    def failed(self) -> list[Finding]:
        """The checks that found two numbers where there has to be one."""
        return [one for one in self.findings if one.verdict == "fails"]

    def as_dict(self) -> Mapping[str, Any]:
        """For verify.json."""
        return {"holds": not self.failed, **asdict(self)}

    def page(self) -> str:
        """For verify.md."""
        lines = [
            f"# {self.stage} with {self.tuner} on {self.model}: " + ("all holds" if not self.failed else "NOT exact"),
            "",
            f"`hone verify` computed the loss and its gradients in two ways each, on {self.rows} rows of the recipe's",
            f"data, in float32 on a processor, with {self.subject}. Two ways are the same when losses and gradients",
            "differ by rounding alone.",
            "",
            "| | check | apart: loss | apart: gradients | |",
            "|---|---|---|---|---|",
            *(_line(one) for one in self.findings),
            "",
            *(f"- {note}" for note in self.notes),
        ]
        return "\n".join(lines).rstrip() + "\n"


def compared(name: str, title: str, found: Apart, detail: str = "") -> Finding:
    """The finding of two ways."""
    verdict: Verdict = "fails" if found.what else "holds"
    return Finding(name, title, verdict, found.what or detail, found.loss, found.gradient)


def _line(one: Finding) -> str:
    numbers = [f"{value:.1e}" if value is not None else "" for value in (one.loss, one.gradient)]
    shown = f"**{one.verdict}**" if one.verdict == "fails" else one.verdict
    return f"| {shown} | {one.title} | {numbers[0]} | {numbers[1]} | {one.detail.replace('|', '/')} |"
