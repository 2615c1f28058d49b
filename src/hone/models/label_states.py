"""The hidden states that predict labels, and the head that makes logits of them: what a loss at the labels needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from hone.models.attention import CONTINUES, isolates, packed_arguments, positions_for
from hone.models.beginnings import Joined, joined
from hone.models.lengths import filled
from hone.models.pictures import COUNTS, between

IGNORED = -100
TOKENS = ("input_ids", "labels", "position_ids")
"""What of a batch is one number for each token."""

_NOT_FOR_THE_MODEL = frozenset({"labels", "cu_seqlens", CONTINUES, COUNTS})
_forms: WeakKeyDictionary[nn.Module, LogitForm | None] = WeakKeyDictionary()


@dataclass(frozen=True)
class LogitForm:
    """What an architecture does to the output of its head: times `scale`, then bent by `softcap` (Gemma 2)."""

    scale: float = 1.0
    softcap: float | None = None

    def apply(self, logits: Tensor) -> Tensor:
        """The logits the model would have answered with, same shape."""
        logits = logits * self.scale if self.scale != 1.0 else logits
        return torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits


@dataclass(frozen=True)
class LabelStates:
    """Of the N places that predict a label: `hidden` [N, H] with grad, `targets` [N], `segments` [N] (which segment of
    the batch it lies in). `head` and `form` make logits of hidden; without a head, `hidden` are the logits themselves.
    """

    hidden: Tensor
    targets: Tensor
    segments: Tensor
    head: nn.Module | None
    form: LogitForm

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits [n, V], float32, of some of the hidden states."""
        return self.form.apply(hidden if self.head is None else self.head(hidden)).float()


def label_states(model: nn.Module, batch: Mapping[str, Any]) -> LabelStates:
    """Run the model once over a batch, without making any logits.

    `batch` holds input_ids, labels [rows, T] (a label stands at its own token; what predicts it stands before),
    position_ids and, for a flattened batch, cu_seqlens [S + 1]: nothing is predicted across the border of a segment.
    Whatever else it has (attention_mask, pixel_values ...) goes to the model. A model wrapped by PEFT, DDP or
    accelerate is called as it is. Where an architecture cannot keep segments apart they run one by one; where it can,
    segments that begin alike may have their common beginning run once (`hone.models.beginnings`).
    """
    cu_seqlens = batch.get("cu_seqlens")
    if cu_seqlens is None or len(cu_seqlens) <= 2 or isolates(model):
        return _flat_states(model, batch)
    parts = [_flat_states(model, part) for part in _segments(batch, cu_seqlens.tolist())]
    return LabelStates(
        torch.cat([part.hidden for part in parts]),
        torch.cat([part.targets for part in parts]),
        torch.cat([torch.full_like(part.segments, number) for number, part in enumerate(parts)]),
        parts[0].head,
        parts[0].form,
    )


def end_states(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """The last hidden state of every segment of a flattened batch [S, H], with grad; no logits are made."""
    cu_seqlens = batch["cu_seqlens"]
    if len(cu_seqlens) <= 2 or isolates(model):
        once = _run_as(model, causal_model(model), batch)
        ends = _places(cu_seqlens[1:].long() - 1, once)
        return _hidden(model, batch if once is None else once.batch)[ends]
    return torch.cat([_hidden(model, part)[-1:] for part in _segments(batch, cu_seqlens.tolist())])


def causal_model(model: nn.Module) -> Any:
    """The model with the head, inside whatever wraps it (DDP, PEFT)."""
    model = unwrapped(model)
    inner = getattr(model, "get_base_model", None)
    return inner() if inner is not None else model


def unwrapped(model: nn.Module) -> Any:
    """The model, with its adapters, inside whatever wraps it for several processes."""
    while not hasattr(model, "get_output_embeddings") and isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model


def plain_linear(head: nn.Module) -> nn.Linear | None:
    """The linear layer that answers for this head as it is set now, also inside PEFT's copies; else None."""
    if hasattr(head, "modules_to_save") and hasattr(head, "original_module"):
        active = head.active_adapters
        head = head.original_module if head.disable_adapters or not active else head.modules_to_save[active[0]]
    elif getattr(head, "disable_adapters", False) and hasattr(head, "get_base_layer"):
        head = head.get_base_layer()
    return head if type(head) is nn.Linear else None


def _segments(batch: Mapping[str, Any], borders: list[int]) -> Iterator[dict[str, Any]]:
    for number, (start, stop) in enumerate(itertools.pairwise(borders)):
        tokens = {name: batch[name][..., start:stop] for name in TOKENS if name in batch}
        yield tokens | between(batch, number, number + 1)


def _flat_states(model: nn.Module, batch: Mapping[str, Any]) -> LabelStates:
    base = causal_model(model)
    head, form = base.get_output_embeddings(), _logit_form(base)
    cu_seqlens = batch.get("cu_seqlens")
    targets = _next_labels(batch["labels"], cu_seqlens)
    rows = (targets != IGNORED).reshape(-1).nonzero().squeeze(1)
    segments = rows // targets.shape[-1] if cu_seqlens is None else torch.bucketize(rows, cu_seqlens[1:], right=True)
    targets = targets.reshape(-1)[rows]
    taken: list[Tensor] = []
    once = None
    if head is not None and form is not None:
        once = _run_as(model, base, batch)
        with _head_replaced_by(head, taken.append):
            run(model, batch if once is None else once.batch)
    if form is None or len(taken) != 1:
        logits = run(model, batch).logits
        return LabelStates(logits.reshape(-1, logits.shape[-1])[rows], targets, segments, None, LogitForm())
    hidden = taken[0].reshape(-1, taken[0].shape[-1])[_places(rows, once)]
    return LabelStates(hidden, targets, segments, plain_linear(head) or head, form)


def _run_as(model: nn.Module, base: Any, batch: Mapping[str, Any]) -> Joined | None:
    """The batch that is run in the place of this one; None where it is this one."""
    return filled(model, base, batch, joined(model, base, batch))


def _places(rows: Tensor, once: Joined | None) -> Tensor:
    """Where these places of a batch stand in what was run."""
    return rows if once is None else once.where[rows]


def _hidden(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """What the head would be given [T, H]; where the head is not called once, the library's last hidden states."""
    head, taken = causal_model(model).get_output_embeddings(), list[Tensor]()
    if head is not None:
        with _head_replaced_by(head, taken.append):
            run(model, batch)
    if len(taken) != 1:
        taken = [run(model, batch, output_hidden_states=True).hidden_states[-1]]
    return taken[0].reshape(-1, taken[0].shape[-1])


def run(model: nn.Module, batch: Mapping[str, Any], **options: Any) -> Any:
    """The model's answer to a batch, its segments kept apart."""
    inputs = {name: value for name, value in batch.items() if name not in _NOT_FOR_THE_MODEL}
    if "position_ids" in inputs:
        inputs["position_ids"] = positions_for(model, inputs["position_ids"])
    with packed_arguments(model, batch.get("cu_seqlens"), batch.get(CONTINUES)) as extra:
        return model(**inputs, **extra, **options, use_cache=False)


def _next_labels(labels: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """[rows, T]: what stands after each position, IGNORED where that is no label or another segment."""
    targets = torch.full_like(labels, IGNORED)
    targets[..., :-1] = labels[..., 1:]
    if cu_seqlens is not None:
        targets[..., cu_seqlens[1:].long() - 1] = IGNORED
    return targets


@contextmanager
def _head_replaced_by(head: nn.Module, take: Any) -> Iterator[None]:
    """While this lasts, the head hands its hidden states to `take` and answers with a stand-in of width one."""

    def stand_in(hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        take(hidden)
        return hidden.detach()[..., :1]

    kept = head.__dict__.get("forward")
    head.__dict__["forward"] = stand_in
    try:
        yield
    finally:
        head.__dict__.pop("forward")
        if kept is not None:
            head.__dict__["forward"] = kept


def use_full_logits(model: nn.Module) -> None:
    """From now on this model's losses are made of all logits of a batch, as for an architecture nothing is known of:
    what logits at labels alone are held against."""
    _forms[causal_model(model)] = None


def _logit_form(base: nn.Module) -> LogitForm | None:
    """How this architecture makes logits of its head's output, proven by one tiny forward; None when unknown."""
    if base not in _forms:
        form = _named_form(base)
        _forms[base] = form if _form_holds(base, form) else None
    return _forms[base]


def _named_form(base: Any) -> LogitForm:
    config = base.config.get_text_config() if hasattr(base.config, "get_text_config") else base.config
    scale = float(getattr(base, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    return LogitForm(scale, getattr(config, "final_logit_softcapping", None))


@torch.no_grad()
def _form_holds(base: Any, form: LogitForm) -> bool:
    head = base.get_output_embeddings()
    if head is None:
        return False
    raw: list[Tensor] = []
    hook = head.register_forward_hook(lambda _module, _inputs, output: raw.append(output))
    was_training = base.training
    base.eval()  # dropout would draw random numbers here, and a resumed run would differ from the one never stopped
    try:
        ids = torch.arange(3, 8, device=head.weight.device)[None] % base.get_input_embeddings().weight.shape[0]
        logits = base(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
        base.train(was_training)
    return len(raw) == 1 and torch.allclose(form.apply(raw[0]).float(), logits.float(), rtol=1e-3, atol=1e-3)
