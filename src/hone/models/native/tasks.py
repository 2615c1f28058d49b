"""Attention of a whole row in one call of machine code (`attention.c`), in float32: what its threads share out."""

from __future__ import annotations

import ctypes
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from hone.models.native.calls import call
from hone.models.segments import Block

LANES = 4
"""Among how many lanes the work of one key head is shared out, as evenly as whole blocks allow; each takes room of its
own for the slopes at the keys it sees."""


@dataclass(frozen=True)
class Tasks:
    """The tables that `attention.c` describes: blocks int32 [B, 5], lanes int32 [L, 6], starts int64 [L + 1]; `room`,
    how many scores one query head has in the largest block."""

    blocks: Tensor
    lanes: Tensor
    starts: Tensor
    room: int


@lru_cache(maxsize=1)
def product() -> int | None:
    """The address of the product that torch brings, where that is MKL's, which stays on one thread inside a parallel
    region; else None."""
    if not torch.backends.mkl.is_available():
        return None
    try:
        found = ctypes.CDLL(str(Path(torch.__file__ or "").parent / "lib" / "libtorch_cpu.so")).sgemm_
    except (OSError, AttributeError):
        return None
    return ctypes.cast(found, ctypes.c_void_p).value


def shared_out(blocks: Sequence[Block], borders: Sequence[int]) -> Tasks:
    """The tables for these blocks of a row whose segments end at `borders`."""
    lanes = sorted(_lanes(blocks, borders), key=_work, reverse=True)  # the longest first: no thread ends alone
    ordered = list(itertools.chain(*lanes))
    ends = list(itertools.accumulate(map(len, lanes)))
    spans = [(min(b.first for b in lane), max(b.stop for b in lane), *lane[0].before) for lane in lanes]
    rows = itertools.accumulate((stop - first + after - before for first, stop, before, after in spans), initial=0)
    return Tasks(
        torch.tensor([(b.start, b.stop, b.first, *b.before) for b in ordered], dtype=torch.int32),
        torch.tensor(
            [(end - len(lane), end, *span) for end, lane, span in zip(ends, lanes, spans, strict=True)],
            dtype=torch.int32,
        ),
        torch.tensor(list(rows)),
        max((block.stop - block.start) * _keys(block) for block in ordered),
    )


def _lanes(blocks: Sequence[Block], borders: Sequence[int]) -> list[list[Block]]:
    """Each segment's blocks dealt out to as many lanes as its share of the work is worth."""
    segments: defaultdict[int, list[Block]] = defaultdict(list)
    for block in blocks:
        segments[next(end for end in borders if end >= block.stop)].append(block)
    whole = _work(blocks)
    lanes = []
    for segment in segments.values():
        count = min(len(segment), max(1, round(LANES * _work(segment) / whole)))
        lanes += [segment[lane::count] for lane in range(count)]
    return lanes


def _work(blocks: Sequence[Block]) -> int:
    return sum((block.stop - block.start) * _keys(block) for block in blocks)


def _keys(block: Block) -> int:
    return block.earlier + block.stop - block.first


@dataclass(frozen=True)
class Given:
    """query [heads * T, D] by block, key and value [key heads, T, D]; scores times `scale` within the last `window`."""

    query: Tensor
    key: Tensor
    value: Tensor
    window: int
    scale: float

    @property
    def sizes(self) -> tuple[int | float, ...]:
        """As every function of `attention.c` takes them last."""
        keys, tokens, width = self.key.shape
        return tokens, len(self.query) // tokens, keys, width, self.window, self.scale

    def room(self, tasks: Tasks, pieces: int) -> tuple[Tensor, int]:
        """For each thread as many numbers as `pieces` arrays of scores of the largest block have, and how many."""
        keys, tokens, _ = self.key.shape
        space = pieces * tasks.room * (len(self.query) // (tokens * keys))
        return self.key.new_empty(torch.get_num_threads() * space), space


def attend(given: Given, tasks: Tasks) -> Tensor:
    """The attended values [heads * T, D] by block."""
    out = torch.empty_like(given.query)
    tensors = (given.query, given.key, given.value, tasks.blocks, out)
    call("attend", out.dtype, product() or 0, *tensors, *given.room(tasks, 1), len(tasks.blocks), *given.sizes)
    return out


def attend_backward(
    given: Given, tasks: Tasks, down: Tensor, dots: Tensor, grads: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Fills `grads` (at query, key, value) from the slope at the attended values and its products with them
    [heads * T], both by block."""
    keys, _, width = given.key.shape
    shares = given.key.new_empty(2 * keys * int(tasks.starts[-1]) * width)
    tensors = (given.query, given.key, given.value, tasks.blocks, tasks.lanes, tasks.starts, down, dots, *grads, shares)
    told = (*given.room(tasks, 2), len(tasks.lanes), *given.sizes)
    call("attend_backward", down.dtype, product() or 0, *tensors, *told)
