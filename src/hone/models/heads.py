"""Losses at the labels: logits are computed only where a label is, a few rows at a time, and never kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hone.models.label_states import IGNORED as IGNORED
from hone.models.label_states import LabelStates, LogitForm, label_states
from hone.models.native import calls

CHUNK = 128
"""Rows of logits at a time: 128 x 49,152 x 4 bytes = 25 MB, about a last-level cache."""

RowLoss = Callable[[Tensor, Tensor, slice], Tensor]
"""From logits [n, V] (float32, with grad), targets [n] and which of the N rows these are, to the loss of each [n]."""


def label_loss(model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, int]:
    """Cross-entropy summed over the label tokens (a scalar with grad, in nats) and how many there are; `batch` as in
    `label_states`."""
    states = label_states(model, batch)
    return loss_of(states), len(states.targets)


def loss_of(states: LabelStates) -> Tensor:
    """The summed cross-entropy of what `label_states` found."""
    hidden, head = states.hidden, states.head
    if head is None:
        return functional.cross_entropy(hidden.float(), states.targets, reduction="sum")
    if type(head) is not nn.Linear:
        return row_total(states, _cross_entropy)
    weight, bias = working_weights(head, hidden)
    return _LinearLoss.apply(hidden.to(weight.dtype), weight, bias, states.targets, states.form)


def row_total(states: LabelStates, loss: RowLoss) -> Tensor:
    """The sum of any loss that looks at one row of logits at a time (a scalar with grad)."""
    head = states.head
    if head is None:
        return loss(states.hidden.float(), states.targets, slice(0, len(states.targets))).sum()
    learned = [p for p in head.parameters() if p.requires_grad and torch.is_grad_enabled()]
    return _RowTotal.apply(states.hidden, states, loss, *learned)


def working_weights(head: nn.Linear, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a linear head, in the dtype that matrices are multiplied in, without grad where none is on."""
    weight, bias = head.weight, head.bias
    if not torch.is_grad_enabled():
        weight, bias = weight.detach(), None if bias is None else bias.detach()
    return _in_working_dtype(weight, hidden), None if bias is None else _in_working_dtype(bias, hidden)


def _cross_entropy(logits: Tensor, targets: Tensor, _: slice) -> Tensor:
    return functional.cross_entropy(logits, targets, reduction="none")


def _in_working_dtype(value: Tensor, like: Tensor) -> Tensor:
    """Under autocast matrices are multiplied in its dtype, as the head itself would do."""
    kind = like.device.type
    if not torch.is_autocast_enabled(kind):
        return value
    return value.to(torch.get_autocast_dtype(kind))


class _LinearLoss(torch.autograd.Function):
    """Summed cross-entropy of hidden [N, H] through a linear head; its gradients are made in the forward, by chunks."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, form: LogitForm
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:3]
        grads = [
            torch.zeros_like(t) if t is not None and w else None
            for t, w in zip((hidden, weight, bias), wanted, strict=True)
        ]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), CHUNK):
                piece = slice(start, start + CHUNK)
                total += _chunk(hidden[piece], weight, bias, targets[piece], form, grads, piece)
        ctx.save_for_backward(*grads)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        scale = grad_outputs[0]
        return *(g if g is None else g * scale.to(g.dtype) for g in ctx.saved_tensors), None, None


def _chunk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    form: LogitForm,
    grads: list[Any],
    piece: slice,
) -> Tensor:
    """The loss of one chunk; adds its gradients to `grads` (hidden, weight, bias)."""
    raw = functional.linear(hidden, weight, bias)
    if form == LogitForm() and grads[0] is not None and calls.available(raw):
        losses = calls.label_slopes(raw, targets)
        _spread(raw, hidden, weight, grads, piece)
        return losses.sum()
    formed = form.apply(raw.float())
    chosen = formed.gather(1, targets[:, None])
    if all(grad is None for grad in grads):
        return (torch.logsumexp(formed, -1) - chosen[:, 0]).sum()
    slope, normalizer = slope_at_logits(formed, targets, form)
    _spread(slope.to(weight.dtype), hidden, weight, grads, piece)
    return (normalizer - chosen[:, 0]).sum()


def slope_at_logits(formed: Tensor, targets: Tensor, form: LogitForm) -> tuple[Tensor, Tensor]:
    """The slope of each row's cross-entropy at the raw output of the head [n, V], and log of the summed exponents [n].

    `formed` are the logits after `form`.
    """
    slope = torch.softmax(formed, -1)
    # Softmax is exp(logit - normalizer): its largest entry gives the normalizer without another pass.
    normalizer = formed.amax(-1) - slope.amax(-1).log()
    slope.scatter_add_(1, targets[:, None], slope.new_full((len(targets), 1), -1.0))
    if form.softcap:
        slope *= 1 - (formed / form.softcap) ** 2
    if form.scale != 1.0:
        slope *= form.scale
    return slope, normalizer


def _spread(slope: Tensor, hidden: Tensor, weight: Tensor, grads: list[Any], piece: slice) -> None:
    """From the slope at the logits [n, V] to hidden states, weight and bias, as far as they are asked for."""
    if grads[0] is not None:
        torch.mm(slope, weight, out=grads[0][piece])
    if grads[1] is not None:
        grads[1].addmm_(slope.T, hidden)
    if grads[2] is not None:
        grads[2] += slope.sum(0)


class _RowTotal(torch.autograd.Function):
    """Any loss by rows, any head module: autograd inside each chunk, nothing kept between chunks."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, states: LabelStates, loss: RowLoss, *learned: Tensor) -> Tensor:
        asked = any(ctx.needs_input_grad)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        slopes = [torch.zeros_like(tensor) for tensor in (hidden, *learned)] if asked else []
        for start in range(0, len(hidden), CHUNK):
            piece = slice(start, start + CHUNK)
            with torch.set_grad_enabled(asked):
                part = hidden[piece].detach().requires_grad_(asked)
                part_loss = loss(states.logits(part), states.targets[piece], piece).sum()
            total += part_loss.detach()
            if asked:
                found = torch.autograd.grad(part_loss, (part, *learned), allow_unused=True)
                slopes[0][piece] = found[0]
                for kept, new in zip(slopes[1:], found[1:], strict=True):
                    kept += 0 if new is None else new
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        hidden, *learned = (slope * grad_outputs[0].to(slope.dtype) for slope in ctx.saved_tensors)
        return hidden, None, None, *learned
