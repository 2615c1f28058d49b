"""The checks, one function each: two ways to compute one loss and its gradients, held against each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hone.errors import HoneError
from hone.runs.verifying.audit import check_first_batch, check_ids
from hone.runs.verifying.bench import Bench
from hone.runs.verifying.finding import Finding, compared
from hone.training.exactness import Outcome, apart, outcome

if TYPE_CHECKING:
    from torch import Tensor

ROUNDED = 1e-4
"""How far two ways may be apart that add the same numbers in another order throughout the model."""
PIECE = 7
"""Rows of logits at a time, few, so that a few rows of data are cut into several pieces."""
ANSWERS = "what is learned from is written by the model itself, not read from rows"


def all_findings(bench: Bench) -> Iterator[Finding]:
    """Every check in turn; one that a fault ends has failed by it."""
    for check, (name, title) in CHECKS.items():
        try:
            yield check(bench, name, title)
        except HoneError as error:
            yield Finding(name, title, "fails", "; ".join(fault.what for fault in error.faults))
        except (RuntimeError, ValueError, TypeError) as reason:
            yield Finding(name, title, "fails", f"{type(reason).__name__}: {str(reason).splitlines()[0][:200]}")


def check_packing(bench: Bench, name: str, title: str) -> Finding:
    """All rows as one pack, against segments that each run alone in the library's own attention."""
    from hone.data.examples import ExampleSet
    from hone.models.attention import isolates

    model, stage = bench.built()
    if bench.generates(stage):
        return Finding(name, title, "does not apply", ANSWERS)
    pack = ExampleSet.of(bench.rows).packed([range(len(bench.rows))])[0]
    together = outcome(stage, model, [stage.collate([pack])])
    other, beside = bench.built(alone=True)
    detail = "" if isolates(model) else "this architecture cannot keep rows apart, so that they run one by one"
    rows = [[row] for row in bench.rows] if stage.adds_up else [list(bench.rows)]
    separate = outcome(beside, other, [beside.collate(part) for part in rows])
    return compared(name, title, apart(together, separate), detail)


def check_batches(bench: Bench, name: str, title: str) -> Finding:
    """The rows of one step cut into micro-batches in several ways."""
    model, stage = bench.built()
    if bench.generates(stage):
        return Finding(name, title, "does not apply", ANSWERS)
    rows, count = bench.rows, len(bench.rows)
    if count < 2:
        return Finding(name, title, "does not apply", "there is one row only")
    if not stage.adds_up:
        return Finding(name, title, "does not apply", f"a loss of {stage.name} looks at its whole micro-batch")
    expected = outcome(stage, model, [stage.collate(rows)])
    worst = None
    for sizes in ((1,) * count, (count - 1, 1), (1, count - 1), (count // 2, count - count // 2)):
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        cut = [stage.collate(rows[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
        found = apart(outcome(stage, model, cut), expected)
        if worst is None or found.what or found.gradient > worst.gradient:
            worst = found
        if found.what:
            break
    assert worst is not None
    return compared(name, title, worst)


def check_logits(bench: Bench, name: str, title: str) -> Finding:
    """Logits at labels alone, a few rows at a time, against all logits and autograd through them."""
    from hone.models.label_states import use_full_logits
    from hone.models.value_head import value_head

    rows = bench.rows[:2]
    model, stage = bench.built()
    if value_head(model) is not None:
        return Finding(name, title, "does not apply", "a value head reads hidden states, which full logits pass by")
    batches = bench.batches(model, stage, rows)
    with _pieces(PIECE):
        found = outcome(stage, model, batches)
    other, beside = bench.built()
    use_full_logits(other)
    return compared(name, title, apart(found, outcome(beside, other, batches)))


def check_reference(bench: Bench, name: str, title: str) -> Finding:
    """The policy with its adapter off, against a model of its own."""
    from hone.stages.shared.reference import AdaptersOff, SecondModel

    model, stage = bench.built()
    reference = getattr(stage, "reference", None)
    if reference is None:
        return Finding(name, title, "does not apply", f"this {stage.name} compares with no reference")
    if not isinstance(reference, AdaptersOff):
        return Finding(name, title, "does not apply", "without adapters the reference is a copy in any case")
    found = outcome(stage, model, bench.batches(model, stage))
    other, beside = bench.built()
    beside.reference = SecondModel(copy.deepcopy(other).unload())
    return compared(name, title, apart(found, outcome(beside, other, bench.batches(other, beside))))


def check_merged(bench: Bench, name: str, title: str) -> Finding:
    """Cross-entropy of the same rows, and its slopes at norms and embeddings, with the adapter beside and merged."""
    from hone.models.adapters import merged

    model, stage = bench.built()
    if not hasattr(model, "merge_and_unload"):
        return Finding(name, title, "does not apply", f"{bench.recipe.finetuning.finetuning_type} adds no adapter")
    batches = bench.batches(model, stage)
    beside = _slopes(model, batches)
    within = _slopes(merged(copy.deepcopy(model)), batches)
    shared = beside.gradients.keys() & within.gradients.keys()
    both = [Outcome(one.loss, {key: one.gradients[key] for key in sorted(shared)}) for one in (within, beside)]
    return compared(name, title, apart(*both, rel=ROUNDED))


def check_recomputing(bench: Bench, name: str, title: str) -> Finding:
    """Gradient checkpointing, in the form that the recipe asks for."""
    from hone.models.checkpointing import enable_gradient_checkpointing
    from hone.models.label_states import causal_model

    model, stage = bench.built()
    if not getattr(causal_model(model), "supports_gradient_checkpointing", False):
        return Finding(name, title, "does not apply", "this architecture cannot compute activations again")
    batches = bench.batches(model, stage)
    expected = outcome(stage, model, batches)
    recipe = bench.recipe
    enable_gradient_checkpointing(
        model, use_reentrant=recipe.model.use_reentrant_gc and "use_reentrant_gc" in recipe.given
    )
    return compared(name, title, apart(outcome(stage, model, batches), expected))


def check_speed(bench: Bench, name: str, title: str) -> Finding:
    """Blocks run by hand, keeping their activations and computing them again, against the library's own."""
    from hone.models.speed.quicken import quicken

    model, stage = bench.built()
    batches = bench.batches(model, stage)
    expected = outcome(stage, model, batches)
    worst, blocks = None, 0
    for memory in (None, 0):
        other, beside = bench.built()
        quick = quicken(other, memory=memory)
        if not quick.blocks:
            return Finding(name, title, "does not apply", "; ".join(quick.reasons))
        blocks = quick.blocks
        found = apart(outcome(beside, other, batches), expected, rel=ROUNDED)
        if worst is None or not worst.what:
            worst = found
    assert worst is not None
    return compared(name, title, worst, f"{blocks} blocks by hand")


CHECKS: dict[Callable[[Bench, str, str], Finding], tuple[str, str]] = {
    check_first_batch: (
        "audit",
        "first batch: something is learned, ids have embeddings, every weight gets a gradient",
    ),
    check_ids: ("ids", "training ids = serving ids"),
    check_packing: ("packing", "packed = unpacked"),
    check_batches: ("batches", "batch x accumulation changes nothing"),
    check_logits: ("logits", "logits at labels, in pieces = full logits"),
    check_reference: ("reference", "reference with the adapter off = a reference of its own"),
    check_merged: ("merged", "merged = adapter"),
    check_recomputing: ("checkpointing", "gradient checkpointing on = off"),
    check_speed: ("speed", "fast path = plain path"),
}


@contextmanager
def _pieces(rows: int) -> Iterator[None]:
    """While this lasts, so many rows of logits are made at a time."""
    from hone.models import heads

    kept, heads.CHUNK = heads.CHUNK, rows
    try:
        yield
    finally:
        heads.CHUNK = kept


def _slopes(model: Any, batches: Sequence[Any]) -> Outcome:
    """The mean cross-entropy, and its slopes at vectors and embeddings, which adapter and merged model share."""
    from hone.models.heads import label_loss
    from hone.models.label_states import causal_model
    from hone.stages.shared.scores import row_of

    base = causal_model(model.eval())
    embeddings = base.get_input_embeddings()
    shared: dict[str, Tensor] = {name: p for name, p in base.named_parameters() if p.ndim == 1 and "lora_" not in name}
    if hasattr(embeddings, "weight") and not hasattr(embeddings, "get_base_layer"):
        shared["embeddings"] = embeddings.weight
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    for parameter in shared.values():
        parameter.requires_grad_(True)
    total, count = 0.0, 0
    for batch in batches:
        loss, labels = label_loss(model, row_of(batch))
        loss.backward()
        total, count = total + loss.item(), count + labels
    found = {name: p.grad / max(count, 1) for name, p in shared.items() if p.grad is not None}
    return Outcome(total / max(count, 1), found)
