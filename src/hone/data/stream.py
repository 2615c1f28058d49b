"""`streaming: true`: rows are read, encoded, mixed and shuffled while training, in an order that the seed decides."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from hone.data import pack
from hone.data.gather import Gatherer
from hone.data.load import BATCH
from hone.data.pieces import Pieces
from hone.data.row import BadRow
from hone.data.sources import files_at, read_rows
from hone.dialogue.example import Example
from hone.errors import DataError, Fault, RecipeError
from hone.log import warn


@dataclass(frozen=True)
class Source:
    """One set, read anew each time it is gone through. A broken row ends the run, unless `skip`."""

    gatherer: Gatherer
    skip: bool = False

    def __iter__(self) -> Iterator[Example]:
        rows = iter(read_rows(files_at(self.gatherer.entry.path)))
        while batch := list(itertools.islice(rows, BATCH)):
            made = self.gatherer(batch)
            self._refuse([*made.bad, *made.overlong])
            yield from (made.pieces[number] for number in range(len(made.pieces)))

    def _refuse(self, bad: Sequence[BadRow]) -> None:
        if bad and self.skip:
            name, first = self.gatherer.entry.name, bad[0]
            warn(f"skipped {len(bad)} broken rows of {name}, the first: {first.what}: {first.where}")
        elif bad:
            fix = "mend the row, or set on_bad_row: skip"
            raise DataError(*(Fault(row.code, row.what, row.where, fix) for row in bad[:20]))


@dataclass(frozen=True)
class Joining:
    """How examples are put together: not at all, into packs (`size` tokens, among `window` examples), or run on into
    blocks that begin with `first`."""

    how: str = "no"
    size: int = 0
    window: int = 1000
    first: int | None = None

    def __call__(self, examples: Iterable[Example]) -> Iterator[Example]:
        if self.how == "stream":
            return pack.stream(examples, self.size, first=self.first)
        return self._packs(examples) if self.how == "fit" else iter(examples)

    def _packs(self, examples: Iterable[Example]) -> Iterator[Example]:
        source = iter(examples)
        while window := list(itertools.islice(source, self.window)):
            for chosen in pack.fit([len(example.input_ids) for example in window], self.size):
                yield _joined([window[number] for number in chosen])


class Stream(IterableDataset[Example]):
    """Examples without an end: the sets are gone through again and again, shuffled otherwise each time.

    The order follows from the seed alone, so that a run that is taken up reads again what it has seen, and goes on
    exactly where it stopped. The first `held` examples are kept for evaluation and never trained on.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        strategy: str,
        probabilities: Sequence[float] = (),
        seed: int,
        buffer_size: int,
        joining: Joining,
        longest: int,
        held: int = 0,
    ) -> None:
        self.sources = tuple(sources)
        self.strategy, self.probabilities = strategy, tuple(probabilities)
        self.seed, self.buffer_size, self.joining = seed, buffer_size, joining
        self.longest = longest
        self.held = held

    def once(self) -> Iterator[Example]:
        """All sets, mixed, one time through, the examples kept for evaluation among them."""
        return mixed(self.sources, self.strategy, probabilities=self.probabilities, seed=self.seed)

    def evaluated(self) -> Pieces:
        """The examples that are kept for evaluation."""
        kept = list(itertools.islice(self.once(), self.held))
        if len(kept) < self.held:
            what = f"val_size takes {self.held} examples and there are only {len(kept)}"
            raise RecipeError.one("CFG-VALUE", what, "val_size", "take fewer, and leave some to train on")
        return Pieces.of(kept)

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        whole = self._endless()
        # Several loading processes share one stream, each taking every n-th example of it.
        return whole if worker is None else itertools.islice(whole, worker.id, None, worker.num_workers)

    def _endless(self) -> Iterator[Example]:
        for epoch in itertools.count():
            rest = itertools.islice(self.once(), self.held, None)
            given = 0
            for example in shuffled(self.joining(rest), self.buffer_size, seed=(self.seed, epoch)):
                yield example
                given += 1
            if not given:
                names = ", ".join(source.gatherer.entry.name for source in self.sources)
                raise DataError.one(
                    "DATA-EMPTY", "no row has tokens to train on", names, "check columns and cutoff_len"
                )


def mixed(
    sources: Sequence[Iterable[Example]], strategy: str, *, probabilities: Sequence[float] = (), seed: int = 0
) -> Iterator[Example]:
    """Several sets as one, as `hone.data.mix` has it, without knowing how long they are."""
    if strategy == "concat" or len(sources) == 1:
        yield from itertools.chain.from_iterable(sources)
        return
    chance = np.random.default_rng(seed)
    shares = np.asarray(probabilities or [1.0] * len(sources), dtype=np.float64)
    running = [iter(source) for source in sources]
    waiting = [next(one, None) for one in running]
    ended = [example is None for example in waiting]
    for turn in itertools.count():
        if any(ended) if strategy == "interleave_under" else all(ended):
            return
        chosen = _turn(turn, shares, ended, chance, by_chance=bool(probabilities), once=strategy == "interleave_once")
        example = waiting[chosen]
        if example is None:
            continue
        yield example
        waiting[chosen] = next(running[chosen], None)
        if waiting[chosen] is None:
            ended[chosen] = True
            if strategy == "interleave_over" and not all(ended):
                running[chosen] = iter(sources[chosen])
                waiting[chosen] = next(running[chosen], None)


def _turn(
    turn: int, shares: Any, ended: Sequence[bool], chance: np.random.Generator, *, by_chance: bool, once: bool
) -> int:
    if not by_chance:
        return turn % len(shares)
    left = np.where(ended, 0, shares) if once else shares
    left = left if left.sum() else np.where(ended, 0, 1.0)
    return int(chance.choice(len(shares), p=left / left.sum()))


def shuffled(examples: Iterable[Example], size: int, *, seed: Any) -> Iterator[Example]:
    """Examples in a random order, of which at most `size` are held."""
    chance = np.random.default_rng(seed)
    held: list[Example] = []
    for example in examples:
        if len(held) < size:
            held.append(example)
            continue
        place = int(chance.integers(size))
        held[place], given = example, held[place]
        yield given
    for place in chance.permutation(len(held)):
        yield held[place]


def refuse_processes() -> None:
    """A stream is not yet shared among the processes of a distributed run."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        fix = "leave streaming out (prepared data are memory-mapped, not held), or use one process"
        raise RecipeError.one("CFG-CONFLICT", "several processes cannot share a stream yet", "streaming", fix)


def _joined(examples: Sequence[Example]) -> Example:
    return Example(
        input_ids=np.concatenate([example.input_ids for example in examples]),
        labels=np.concatenate([example.labels for example in examples]),
        lengths=tuple(length for example in examples for length in example.lengths),
        media=tuple(medium for example in examples for medium in example.media),
    )
