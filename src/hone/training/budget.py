"""What a training step needs of a device's memory, part by part, and the cheapest ways to make it fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

OPTIMIZER_BYTES = {
    "adamw_torch": 8.0, "adamw_torch_fused": 8.0, "adamw_hf": 8.0, "adamw_anyprecision": 8.0, "sgd": 0.0,
    "adafactor": 0.1, "adamw_bnb_8bit": 2.1, "adamw_8bit": 2.1, "paged_adamw_8bit": 2.1, "lion_32bit": 4.0,
    "lion_8bit": 1.1, "rmsprop": 4.0, "adagrad": 4.0,
}  # fmt: skip
"""Bytes of state for each number that learns, as far as they are known."""
CHUNK_COPIES = 4
"""A chunk of logits lives as the head's output, in float32, as its exponents, and as its slope."""
CHUNK = 128
"""Rows of logits at a time, as in `models.heads`."""


@dataclass(frozen=True)
class Workload:
    """What is to be computed. Counts are numbers, not bytes; `width` is the bytes of an activation.

    `kept` is how many numbers a block keeps for each token; `recomputes`: only a block's input is kept, and one block
    at a time is computed again. `process` is what the interpreter and its libraries take, in bytes.
    """

    weights: int
    """Bytes."""
    learning: int
    blocks: int
    hidden: int
    kept: int
    vocabulary: int
    tokens: int
    labels: int
    width: int = 4
    state: float = 8.0
    recomputes: bool = False
    second_model: int = 0
    process: int = 0
    scratch: int = 0
    """Bytes beside the logits, fitted to measured peaks: their owner is not known."""
    learned_bytes: int = 4
    answering: int = 0
    """Bytes while a stage that generates writes its answers, which is not while it learns."""


@dataclass(frozen=True)
class Budget:
    """Bytes, by what they hold."""

    process: int
    weights: int
    reference: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    answers: int = 0
    """What writing answers takes beyond what learning then takes in its place."""

    @property
    def total(self) -> int:
        """All of them: the peak, in the backward pass of the largest micro-batch."""
        return sum(asdict(self).values())


def budget(work: Workload) -> Budget:
    """The parts of the peak."""
    layer = work.tokens * work.kept * work.width
    passing = work.tokens * work.hidden * work.width
    activations = work.blocks * passing + layer if work.recomputes else work.blocks * layer
    # What one block's backward needs beside what was kept: about as much again.
    activations += layer
    logits = CHUNK_COPIES * min(CHUNK, max(work.labels, 1)) * work.vocabulary * 4 + 2 * work.labels * work.hidden * 4
    logits += work.scratch
    return Budget(
        process=work.process,
        weights=work.weights,
        reference=work.second_model,
        gradients=work.learning * work.learned_bytes,
        optimizer=int(work.learning * work.state),
        activations=activations,
        logits=logits,
        answers=max(work.answering - activations - logits, 0),
    )


@dataclass(frozen=True)
class Way:
    """A change to the recipe, the bytes it would then take, and what it costs."""

    change: str
    total: int
    cost: str


def ways(work: Workload, *, batch: int, passes: int, available: int, every_weight: bool) -> list[Way]:
    """At most three changes that make the work fit, what costs least first; combined where one is not enough."""
    found = [way for way in _ways(work, batch, passes, every_weight) if way.total <= available]
    return found[:3]


def _ways(work: Workload, batch: int, passes: int, every_weight: bool) -> Iterator[Way]:
    sizes = [size for size in (batch // 2, 1) if 0 < size < batch]
    for size in dict.fromkeys(sizes):
        change = f"per_device_train_batch_size: {size}, gradient_accumulation_steps: {-(-batch * passes // size)}"
        yield _way(_cut(work, size / batch), change, "the same result, a little slower")
    calm = replace(work, recomputes=True)
    if not work.recomputes:
        yield _way(calm, "gradient_checkpointing: true", "the same result, about a quarter slower")
        if batch > 1:
            one = f"per_device_train_batch_size: 1, gradient_accumulation_steps: {batch * passes}"
            change = f"gradient_checkpointing: true, {one}"
            yield _way(_cut(calm, 1 / batch), change, "the same result, about a third slower")
    small = _cut(calm, 1 / batch)
    if work.state > 3:
        light = replace(small, state=2.1)
        yield _way(light, "optim: adamw_bnb_8bit, with the above", "the optimizer's state is rounded to 8 bits")
    if every_weight:
        few = replace(small, learning=max(work.learning // 100, 1))
        yield _way(few, "finetuning_type: lora, with the above", "only a hundredth of the weights learn")
    bits = replace(small, learning=max(work.learning // 100, 1) if every_weight else work.learning)
    bits = replace(bits, weights=int(work.weights * 0.6 / work.width))
    yield _way(bits, "quantization_bit: 4 with finetuning_type: lora", "the frozen weights are rounded to 4 bits")
    yield _way(_cut(small, 0.5), "half the cutoff_len, with the above", "long examples lose their ends")


def _way(work: Workload, change: str, cost: str) -> Way:
    return Way(change, budget(work).total, cost)


def _cut(work: Workload, share: float) -> Workload:
    return replace(work, tokens=max(int(work.tokens * share), 1), labels=max(int(work.labels * share), 1))
