"""Whether two ways to compute a stage's loss give the same loss and the same gradients, within rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hone.training.stage import Batch

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 0.1
"""The size that a loss is taken to have at least: that of a policy begins at sums which cancel to nothing."""
STEP = 1e-4
"""What the rounding of a single number of a gradient may be, as a share of that number."""


@dataclass(frozen=True)
class Outcome:
    """The mean loss over all items of some batches, and the gradient of each parameter that got one."""

    loss: float
    gradients: Mapping[str, Tensor]

    @property
    def largest(self) -> float:
        """The largest number in any gradient."""
        return max((float(one.abs().max()) for one in self.gradients.values()), default=0.0)


@dataclass(frozen=True)
class Apart:
    """How far two outcomes are apart: losses by their size, gradients by the largest number in them, and in which
    parameter. `what` says what is wrong; empty within rounding."""

    loss: float
    gradient: float
    parameter: str = ""
    what: str = ""


def outcome(stage: Any, model: Any, batches: Sequence[Batch]) -> Outcome:
    """The stage's loss over batches that make up one optimizer step, one backward for each."""
    model.zero_grad()
    items = max(sum(int(stage.weight(batch)) for batch in batches), 1)
    total = 0.0
    for batch in batches:
        loss = stage.loss(model, batch).total / items
        loss.backward()
        total += loss.item()
    return Outcome(total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def apart(found: Outcome, expected: Outcome, *, rel: float = 1e-5) -> Apart:
    """`rel` is how far losses may be apart by their size, and gradients by the largest number in them."""
    loss = abs(found.loss - expected.loss) / max(abs(expected.loss), LEAST)
    only = sorted(found.gradients.keys() ^ expected.gradients.keys())
    if only:
        return Apart(loss, 1.0, only[0], f"{len(only)} parameters get a gradient in one way only ({only[0]})")
    if not expected.gradients:
        return Apart(loss, 0.0, "", "no parameter gets a gradient")
    worst, where, beyond = _worst(found, expected, rel)
    if not loss <= rel:
        what = f"the loss is {found.loss:.8g} instead of {expected.loss:.8g}"
    else:
        what = f"the gradient of {where} differs by {worst:.2g} of the largest" if beyond else ""
    return Apart(loss, worst, where, what)


def _worst(found: Outcome, expected: Outcome, rel: float) -> tuple[float, str, bool]:
    """The largest difference of two gradients as a share of the largest number, whose it is, and if any is too large;
    one that is too large goes before others."""
    largest = max(expected.largest, 1e-30)
    worst = (False, -1.0, "")
    for name, wanted in expected.gradients.items():
        difference = (found.gradients[name].double() - wanted.double()).abs()
        beyond = not bool((difference <= rel * largest + STEP * wanted.double().abs()).all())
        worst = max(worst, (beyond, float(difference.max()) / largest, name))
    return worst[1], worst[2], worst[0]
