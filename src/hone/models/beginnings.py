"""Segments of a batch that begin alike (one system prompt, one question for two answers) run their beginning once.

The states of a common beginning do not depend on what follows, so they are the same in every segment: it becomes a
segment of its own, which the rest of each continues. Slopes add up there by themselves; only rounding changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hone.models.attention import CONTINUES, NAME, packed_arguments
from hone.models.noise import stirs

LEAST, SHARE = 8, 0.03
"""A beginning of fewer tokens is not worth its place, nor is a batch that does not get shorter by this share."""

FURTHEST = 64
"""How many segments, in the order of their tokens, are looked at for one beginning."""

OWN = frozenset({"input_ids", "labels", "position_ids", "cu_seqlens"})
_proven: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Joined:
    """A shorter batch that says the same, and for each of the T places of the first where its state stands in it."""

    batch: dict[str, Tensor]
    where: Tensor


def joined(model: nn.Module, base: Any, batch: Mapping[str, Any]) -> Joined | None:
    """The batch with its common beginnings once; None where that is not worth it or would change what is learned.

    `base` is the model inside its wrappers. Where something is drawn for each token (dropout, noise), where experts
    count tokens, and with pictures, every token is run.
    """
    borders = batch.get("cu_seqlens")
    if borders is None or len(borders) <= 2 or not may_move(model, base, batch):
        return None
    lengths = borders.diff().long()
    counted = torch.arange(int(borders[-1])) - (borders[:-1].long()).repeat_interleave(lengths)
    ids, places = batch["input_ids"], batch["position_ids"]
    if places.shape != ids.shape or not torch.equal(places[0], counted):
        return None
    plan = planned(ids[0].numpy(), borders.tolist())
    return None if plan is None or not proven(base) else _shortened(ids, places, plan)


def may_move(model: nn.Module, base: Any, batch: Mapping[str, Any]) -> bool:
    """Whether nothing hangs on how many tokens are run, and at which places of the row."""
    config = base.config
    if not OWN.issuperset(batch):
        return False
    if getattr(config, "_attn_implementation", "") != NAME or base.get_input_embeddings().weight.device.type != "cpu":
        return False
    if getattr(config.get_text_config(), "output_router_logits", False):
        return False
    if not model.training:
        return True
    drops = any(module.p for module in model.modules() if isinstance(module, nn.Dropout))
    return not drops and not stirs(base)


@dataclass(frozen=True)
class Plan:
    """`pieces` [begin, end) of the first row, in the order in which they run, and which piece each one continues."""

    pieces: tuple[tuple[int, int], ...]
    continues: tuple[int, ...]
    where: NDArray[np.int64]


def planned(ids: NDArray[np.int64], borders: Sequence[int]) -> Plan | None:
    """Which beginnings to run once: groups of segments, neighbours in the order of their tokens, so that the fewest
    tokens are left. None where too little is won."""
    rows = [ids[begin:end] for begin, end in itertools.pairwise(borders)]
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">i8").tobytes())
    alike = [_alike(rows[one], rows[other]) for one, other in itertools.pairwise(order)]
    groups = _grouped([len(rows[row]) for row in order], alike)
    won = sum((stop - start - 1) * common for start, stop, common in groups)
    if won < max(LEAST, SHARE * len(ids)):
        return None
    pieces: list[tuple[int, int]] = []
    continues: list[int] = []
    where = np.empty(len(ids), dtype=np.int64)
    length = 0
    for start, stop, common in groups:
        first = borders[order[start]]
        beginning = len(pieces) if common else -1
        if common:
            pieces.append((first, first + common))
            continues.append(-1)
        opened, length = length, length + common
        for row in order[start:stop]:
            begin, end = borders[row], borders[row + 1]
            pieces.append((begin + common, end))
            continues.append(beginning)
            where[begin : begin + common] = np.arange(opened, opened + common)
            where[begin + common : end] = np.arange(length, length + end - begin - common)
            length += end - begin - common
    return Plan(tuple(pieces), tuple(continues), where)


def _alike(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many tokens two segments begin with in common; each keeps one of its own at least, and few count as none."""
    most = min(len(one), len(other)) - 1
    if most < LEAST:
        return 0
    differ = one[:most] != other[:most]
    common = int(differ.argmax()) if differ.any() else most
    return common if common >= LEAST else 0


def _grouped(lengths: Sequence[int], alike: Sequence[int]) -> list[tuple[int, int, int]]:
    """(start, stop, common tokens) of the groups that leave the fewest tokens; a group of one has none in common."""
    left = [0]
    choice: list[tuple[int, int]] = [(0, 0)]
    for stop in range(1, len(lengths) + 1):
        best = (left[stop - 1] + lengths[stop - 1], stop - 1, 0)
        common, whole = lengths[stop - 1], lengths[stop - 1]
        for start in range(stop - 2, max(stop - FURTHEST, 0) - 1, -1):
            common = min(common, alike[start])
            if not common:
                break
            whole += lengths[start]
            best = min(best, (left[start] + whole - (stop - start - 1) * common, start, common))
        left.append(best[0])
        choice.append(best[1:])
    groups: list[tuple[int, int, int]] = []
    stop = len(lengths)
    while stop:
        start, common = choice[stop]
        groups.append((start, stop, common))
        stop = start
    return groups[::-1]


def _shortened(ids: Tensor, places: Tensor, plan: Plan) -> Joined:
    taken = torch.cat([torch.arange(*piece) for piece in plan.pieces])
    ends = np.cumsum([0, *(end - begin for begin, end in plan.pieces)]).astype(np.int32)
    batch = {
        "input_ids": ids[:, taken],
        "position_ids": places[:, taken],
        "cu_seqlens": torch.from_numpy(ends),
        CONTINUES: torch.tensor(plan.continues, dtype=torch.int32),
    }
    return Joined(batch, torch.from_numpy(plan.where))


def proven(base: Any) -> bool:
    """Whether this architecture answers for two tiny segments with one beginning as for each alone; asked once."""
    if base not in _proven:
        was_training = base.training
        base.eval()
        try:
            _proven[base] = _agrees(base)
        except (TypeError, ValueError, RuntimeError, KeyError, NotImplementedError):
            _proven[base] = False
        finally:
            base.train(was_training)
    return _proven[base]


@torch.no_grad()
def _agrees(base: Any) -> bool:
    table = base.get_input_embeddings().weight
    ids = (torch.arange(9)[None] * 7 + 3) % table.shape[0]
    plan = Plan(((0, 4), (4, 7), (7, 9)), (-1, 0, 0), np.arange(9))
    batch = _shortened(ids, torch.tensor([[0, 1, 2, 3, 4, 5, 6, 4, 5]]), plan).batch
    with packed_arguments(base, batch["cu_seqlens"], batch[CONTINUES]) as extra:
        inputs = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"]}
        together = base(**inputs, use_cache=False, **extra).logits[0].float()
    alone = [
        base(input_ids=ids[:, rows], use_cache=False).logits[0].float() for rows in ([*range(7)], [0, 1, 2, 3, 7, 8])
    ]
    difference = (together - torch.cat([alone[0], alone[1][4:]])).abs().max()
    return bool(difference <= (1e-4 if table.dtype == torch.float32 else 0.05) * together.abs().max())
