"""What is looked at before the optimizer may step: labels that can be learned, weights that learn, numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from hone.errors import DataError, ModelError, NumericError
from hone.log import say, warn
from hone.training.stage import Batch

if TYPE_CHECKING:
    from torch import Tensor, nn

SHOWN = 5
FEW = 0.01
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
IGNORED = -100


class Audit:
    """Looks at the first step closely, and at every later one for what must never change."""

    def __init__(self, model: nn.Module, *, quiet: bool = False, guessable: bool = False) -> None:
        """`guessable`: the loss is the cross-entropy of tokens, which has a size that guessing would reach."""
        self.model, self.quiet, self.guessable = model, quiet, guessable
        self.trainable = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        self.learned: set[str] | None = None
        """Parameters that the first step's gradient reached; None before it."""

    def look_at_batches(self, batches: Sequence[Batch]) -> None:
        """Before the first forward: some tokens must be learned, and all ids must lie in the vocabulary.

        Raises DataError (nothing to learn), ModelError (an id without an embedding).
        """
        labels = [batch[key] for batch in batches for key in batch if key.endswith("labels")]
        if not labels:
            return
        learned, total = sum(int((one != IGNORED).sum()) for one in labels), sum(one.numel() for one in labels)
        if not learned:
            raise DataError.one(
                "AUDIT-LABELS", f"none of the {total:,} tokens of the first step is learned", "first step",
                "look at the template and at cutoff_len with `hone data preview`",
            )  # fmt: skip
        _refuse_ids(batches, _vocabulary(self.model))
        share = f"first step: {learned:,} of {total:,} tokens are learned ({learned / total:.1%})"
        if not self.quiet:
            (warn if learned / total < FEW else say)(share)

    def look_at_gradients(self, losses: Sequence[Tensor]) -> None:
        """After a backward: every trainable parameter must have been reached by the first one, and by each later one.

        Raises ModelError with the names of those that were not: they would be saved untrained, or have stopped to
        learn. A mixture of experts may leave experts out of a batch; there only a step that reaches nothing is
        refused. A loss that is not finite is left to `watch_numbers`.
        """
        # An optimizer may let some of them sleep for a while.
        idle = [name for name, weight in self.trainable if weight.requires_grad and weight.grad is None]
        first, self.learned = self.learned is None, self.learned or set()
        if first:
            self.learned = {name for name, _ in self.trainable} - set(idle)
            self._look_at_loss(losses)
        if not idle or not torch.isfinite(torch.stack(list(losses))).all():
            return
        lost = [name for name in idle if name in self.learned]
        if _has_experts(self.model) and len(idle) < len(self.trainable):
            if first:
                warn(f"{len(idle)} trainable parameters got no gradient in the first step: {_named(idle)}")
        elif first:
            raise ModelError.one(
                "MODEL-NO-GRADIENT", f"{len(idle)} trainable parameters got no gradient in the first step",
                _named(idle), "take them out of lora_target, additional_target or the freeze_* settings",
            )  # fmt: skip
        elif lost:
            raise ModelError.one(
                "MODEL-GRADIENT-LOST", f"{len(lost)} trainable parameters get no gradient any more", _named(lost),
                "they learned before: something in the run, such as an evaluation, has cut them off; report this",
            )  # fmt: skip

    def _look_at_loss(self, losses: Sequence[Tensor]) -> None:
        """A first loss worse than guessing says that template, tokenizer and weights do not belong together. Only a
        cross-entropy can be held against guessing: a preference loss such as ipo may well begin at 25."""
        if not self.guessable:
            return
        loss, guess = float(torch.stack(list(losses)).sum()), math.log(max(_vocabulary(self.model), 2))
        if math.isfinite(loss) and loss > 1.5 * guess and not self.quiet:
            warn(f"the first loss is {loss:.2f}, worse than guessing ({guess:.2f}): do model and template fit?")


def watch_numbers(
    losses: Sequence[Tensor],
    norm: Any,
    *,
    step: int,
    log: Callable[[dict[str, float]], None],
    explain: Callable[[], str] = str,
) -> None:
    """Stop (NumericError) when the loss or the gradient of this step is not finite; what was seen is logged as it is.

    `norm` None leaves the gradient unchecked: with a loss scaler an overflow is expected and its step is skipped.
    `explain` says where it comes from: rows, layer.
    """
    loss = torch.stack(list(losses)).sum().item()
    value = 0.0 if norm is None else float(norm)
    if math.isfinite(loss) and math.isfinite(value):
        return
    log({"loss": loss} if norm is None else {"loss": loss, "grad_norm": value})
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {value}"
    found = explain()
    raise NumericError.one(
        "NUMERIC", f"{what}; stopped before the weights were touched", f"step {step}" + (f", {found}" if found else ""),
        "lower learning_rate, use bf16 or fp32 instead of fp16, look for broken rows; checkpoints are intact",
    )  # fmt: skip


def _refuse_ids(batches: Sequence[Batch], vocabulary: int) -> None:
    ids = [batch[key] for batch in batches for key in batch if key.endswith(("labels", "input_ids"))]
    largest = max(int(one.max()) for one in ids if one.numel())
    smallest = min(int(one[one != IGNORED].min()) for one in ids if (one != IGNORED).any())
    if vocabulary and (largest >= vocabulary or smallest < 0):
        wrong = largest if largest >= vocabulary else smallest
        raise ModelError.one(
            "AUDIT-VOCABULARY", f"token id {wrong} has no embedding: the model has {vocabulary:,}", "first step",
            "use the tokenizer of this model, or set resize_vocab",
        )  # fmt: skip


def _vocabulary(model: Any) -> int:
    """Rows of the input embedding; 0 where the model shows none."""
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    return int(getattr(embedding, "num_embeddings", 0) or 0)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _has_experts(model: nn.Module) -> bool:
    config = getattr(model, "config", None)
    return any((getattr(config, name, 0) or 0) > 1 for name in EXPERTS)
