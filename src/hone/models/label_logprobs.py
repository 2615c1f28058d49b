"""The log-probability of every label, with grad, and measures of the logits beside it; no logits are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hone.models import heads
from hone.models.label_states import LabelStates, LogitForm

Measure = Callable[[Tensor], Tensor]
"""From logits [n, V] to one number a row [n]; without grad."""


def label_logprobs(states: LabelStates, *measures: Measure) -> tuple[Tensor, list[Tensor]]:
    """The log-probabilities [N], float32, of the labels in nats, and each measure [N].

    Where the head is a frozen linear layer the slope at each hidden state is made in the forward: the slope of a row
    goes by that row's own factor in the backward, so that no logits are made twice. Else each chunk is made again.
    """
    head = states.head
    if (
        head is not None
        and type(head) is nn.Linear
        and not (torch.is_grad_enabled() and any(p.requires_grad for p in head.parameters()))
    ):
        weight, bias = heads.working_weights(head, states.hidden)
        answers = _FrozenHead.apply(states.hidden.to(weight.dtype), weight, bias, states.targets, states.form, measures)
        return answers[0], list(answers[1:])
    return _by_checkpoint(states, measures)


class _FrozenHead(torch.autograd.Function):
    """hidden [N, H] → log-probabilities [N] and the measures [N]; only hidden gets a slope."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        form: LogitForm,
        measures: Sequence[Measure],
    ) -> tuple[Tensor, ...]:
        asked = ctx.needs_input_grad[0]
        slopes = torch.empty_like(hidden) if asked else None
        found: list[list[Tensor]] = [[] for _ in range(1 + len(measures))]
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), heads.CHUNK):
                piece = slice(start, start + heads.CHUNK)
                formed = form.apply(torch.nn.functional.linear(hidden[piece], weight, bias).float())
                for rows, measure in zip(found[1:], measures, strict=True):
                    rows.append(measure(formed))
                chosen = formed.gather(1, targets[piece, None])[:, 0]
                if slopes is None:
                    found[0].append(chosen - torch.logsumexp(formed, -1))
                    continue
                slope, normalizer = heads.slope_at_logits(formed, targets[piece], form)
                found[0].append(chosen - normalizer)
                torch.mm(slope.to(weight.dtype), weight, out=slopes[piece])
        ctx.save_for_backward(slopes)
        answers = tuple(torch.cat(rows) if rows else hidden.new_zeros(0, dtype=torch.float32) for rows in found)
        ctx.mark_non_differentiable(*answers[1:])
        return answers

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (slopes,) = ctx.saved_tensors
        return -slopes * grad_outputs[0][:, None].to(slopes.dtype), None, None, None, None, None


def _by_checkpoint(states: LabelStates, measures: Sequence[Measure]) -> tuple[Tensor, list[Tensor]]:
    from torch.utils.checkpoint import checkpoint

    logprobs, measured = [states.hidden.new_zeros(0, dtype=torch.float32)], [list[Tensor]() for _ in measures]

    def chunk(hidden: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        logits = states.logits(hidden)
        chosen = logits.gather(1, targets[:, None])[:, 0] - torch.logsumexp(logits, -1)
        return chosen, *(measure(logits.detach()) for measure in measures)

    for start in range(0, len(states.hidden), heads.CHUNK):
        piece = slice(start, start + heads.CHUNK)
        first, *rest = checkpoint(chunk, states.hidden[piece], states.targets[piece], use_reentrant=False)
        logprobs.append(first)
        for rows, values in zip(measured, rest, strict=True):
            rows.append(values)
    return torch.cat(logprobs), [torch.cat(rows) if rows else logprobs[0] for rows in measured]
