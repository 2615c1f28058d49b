"""Where a number that is none comes from: which examples bring it up, and in which layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from hone.training.stage import Batch, StageLearning

if TYPE_CHECKING:
    from torch import nn

MOST = 64
SHOWN = 5


def explain(
    model: nn.Module,
    stage: StageLearning,
    suspects: Iterable[tuple[str, Batch]],
    *,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> str:
    """Go through the suspects (a name and its batch) one by one, at most MOST, forward and backward.

    Says in which of them the loss or a gradient is not finite, and where the first one arises. The gradients are
    cleared. Empty when it does not show again.
    """
    broken = next((name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken:
        return f"the weight {broken} is not finite itself"
    named, places = [], []
    for number, (name, batch) in enumerate(suspects):
        place = _place(model, stage, batch, autocast) if number < MOST else None
        if place:
            named.append(name)
            places.append(place)
    model.zero_grad()
    if not named:
        return ""
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"{', '.join(named[:SHOWN])}{more}, first in {places[0]}"


def _place(
    model: nn.Module, stage: StageLearning, batch: Batch, autocast: Callable[[], AbstractContextManager[Any]]
) -> str | None:
    """The layer whose output, or whose gradient, is not finite; None when all is well."""
    model.zero_grad()
    with _first_output(model) as outputs, autocast():
        total = stage.loss(model, batch).total
    if not torch.isfinite(total):
        return outputs[0] if outputs else "the loss itself"
    total.backward()
    bad = [name for name, weight in model.named_parameters() if weight.grad is not None and _is_bad(weight.grad)]
    return f"the gradient of {bad[-1]}" if bad else None


@contextmanager
def _first_output(model: nn.Module) -> Iterator[Sequence[str]]:
    """Names of modules whose output is not finite, in the order in which they ran."""
    seen: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, torch.Tensor) and _is_bad(first):
                seen.append(name)

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _is_bad(values: torch.Tensor) -> bool:
    return values.is_floating_point() and not bool(torch.isfinite(values).all())
