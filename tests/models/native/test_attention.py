"""Attention of a whole row in machine code: the values and slopes of the plain path, the same on each run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hone.models.native import build, segments, tasks
from hone.models.segments import Layout, Rules
from hone.models.segments import attend as plain
from hone.models.segments import attend_backward as plain_backward

SIZES = segments.Sizes(heads=6, keys=2, width=16)
LAYOUTS = {
    "one": Layout((0, 5)),
    "a pack": Layout((0, 70, 71, 200, 203)),
    "one with all the lanes": Layout((0, 700)),
    "a beginning": Layout((0, 90, 100, 240, 300), (-1, 0, 0, -1)),
    "two beginnings": Layout((0, 9, 20, 21, 101, 180), (-1, 0, -1, 2, 2)),
}
needs_product = pytest.mark.skipif(
    build._program() is None or tasks.product() is None, reason="no C compiler, or a torch with another product"
)


def row(layout: Layout) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The fused states of a row, a slope at what is attended, and positions' cosine and sine."""
    drawn = torch.Generator().manual_seed(layout.borders[-1])
    tokens, width = layout.borders[-1], SIZES.width
    fused = torch.randn(tokens, (SIZES.heads + 2 * SIZES.keys) * width, generator=drawn)
    slope = torch.randn(tokens, SIZES.heads * width, generator=drawn)
    angles = torch.randn(tokens, width // 2, generator=drawn).repeat(1, 2)
    return fused, slope, (angles.cos(), angles.sin())


def both_ways(
    layout: Layout, rules: Rules, *, whole: bool, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """What is attended, and the slope at the fused states."""
    fused, slope, tables = row(layout)
    fused, slope, tables = fused.to(dtype), slope.to(dtype), (tables[0].to(dtype), tables[1].to(dtype))
    cut = segments.plan(layout, rules.window)
    assert cut.tasks is not None
    if not whole:
        cut = replace(cut, tasks=None)
    flat = segments.split(fused, *tables, cut, SIZES)
    attended = segments.attend(flat, cut, SIZES, rules)
    return attended, segments.attend_backward(slope, flat, attended, tables, cut, SIZES, rules)


def by_torch(layout: Layout, rules: Rules) -> tuple[Tensor, Tensor]:
    """The same without machine code."""
    fused, slope, (cosine, sine) = row(layout)
    heads, keys, half = SIZES.heads, SIZES.keys, SIZES.width // 2

    def turned(states: Tensor, sign: float) -> Tensor:
        swapped = torch.cat([-states[..., half:], states[..., :half]], -1)
        return states * cosine[:, None] + sign * swapped * sine[:, None]

    states = fused.view(len(fused), -1, SIZES.width)
    query, key, value = states.split([heads, keys, keys], 1)
    query, key, value = (part.transpose(0, 1) for part in (turned(query, 1), turned(key, 1), value))
    out = plain(query, key, value, None, layout, rules)
    grads = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
    slopes = slope.view(len(slope), heads, -1).transpose(0, 1)
    plain_backward(slopes, grads, query, key, value, None, out, layout=layout, rules=rules)
    back = [part.transpose(0, 1) for part in grads]
    joined = torch.cat([turned(back[0], -1), turned(back[1], -1), back[2]], 1)
    return out.transpose(0, 1).flatten(1), joined.flatten(1)


@needs_product
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("window", [None, 33])
@pytest.mark.parametrize("name", LAYOUTS)
def test_values_and_slopes_are_those_of_torch(name: str, window: int | None, whole: bool) -> None:
    layout, rules = LAYOUTS[name], Rules(0.25, window)
    if layout.continues and window is not None:
        pytest.skip("a window does not reach across segments")
    for found, expected in zip(both_ways(layout, rules, whole=whole), by_torch(layout, rules), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@needs_product
@pytest.mark.parametrize("name", LAYOUTS)
def test_half_precision_rounds_at_the_ends_only(name: str) -> None:
    """What a row of bfloat16 gives is near what float32 gives, and no further from it than block by block."""
    exact = by_torch(LAYOUTS[name], Rules(0.25))
    found, blockwise = (
        both_ways(LAYOUTS[name], Rules(0.25), whole=whole, dtype=torch.bfloat16) for whole in (True, False)
    )
    for right, one, other in zip(exact, found, blockwise, strict=True):
        off = (one.float() - right).norm() / right.norm()
        assert off < 6e-3
        assert off <= (other.float() - right).norm() / right.norm() * 1.05


@needs_product
@pytest.mark.parametrize("name", LAYOUTS)
def test_it_is_the_same_to_the_last_bit_whatever_thread_is_first(name: str) -> None:
    with ThreadPoolExecutor(1) as apart:  # its team of threads ends with it: a fork of this process must find none
        assert apart.submit(always_the_same, LAYOUTS[name]).result()


def always_the_same(layout: Layout) -> bool:
    """Whether one thread and three, time and again, compute the same."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = both_ways(layout, Rules(0.25), whole=True)
        torch.set_num_threads(3)
        again = [both_ways(layout, Rules(0.25), whole=True) for _ in range(5)]
        return all(torch.equal(*pair) for other in again for pair in zip(first, other, strict=True))
    finally:
        torch.set_num_threads(before)


@needs_product
def test_each_block_is_in_one_lane_and_the_work_is_shared_out() -> None:
    layout = LAYOUTS["one with all the lanes"]
    cut = segments.plan(layout, None)
    assert cut.tasks is not None
    assert sorted(cut.tasks.blocks[:, 0].tolist()) == [block.start for block in cut.blocks]
    assert cut.tasks.lanes[:, :2].flatten().tolist() == [0, 3, 3, 6, 6, 9, 9, 11]
    assert cut.tasks.starts.tolist()[1:] == cut.tasks.lanes[:, 3].cumsum(0).tolist()
