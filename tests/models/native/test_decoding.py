"""Machine code of a step of many requests: products with panels, heads turned and kept, attention in slots."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hone.models.native import build, decoding, panels

pytestmark = pytest.mark.skipif(build._program() is None, reason="no C compiler on this machine")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7, 12, 13, 64])
@pytest.mark.parametrize("outputs", [1, 15, 16, 47, 64, 100])
def test_a_product_with_panels_is_the_product(rows: int, outputs: int, half: bool) -> None:
    states, weight = drawn(rows, 33), drawn(outputs, 33)
    weight = weight.bfloat16().float() if half else weight
    assert panels.exact(weight) == half
    laid = panels.panels(weight, half=half)
    found = panels.times(states, laid)
    torch.testing.assert_close(found, states @ weight.t(), rtol=1e-5, atol=1e-5)
    alone = torch.cat([panels.times(states[row : row + 1], laid) for row in range(rows)])
    assert torch.equal(found, alone), "what shares a batch changes an answer"


@pytest.mark.parametrize("normed", [True, False])
def test_heads_are_turned_and_kept_in_their_slots(normed: bool) -> None:
    heads, keys, width, tokens = 4, 2, 6, 5
    fused, cosine, sine = drawn(tokens, (heads + 2 * keys) * width), drawn(tokens, width), drawn(tokens, width)
    norms = [(drawn(width + which)[:width].contiguous() if normed else None, 1e-6) for which in (1, 2)]
    buffer, places = torch.zeros(3, 4, 2 * keys, width), torch.tensor([0, 3, 5, 9, 11])
    query = decoding.settle(fused, (cosine, sine), places, buffer, decoding.Heads(heads, keys, width, *norms))
    parts = list(fused.view(tokens, -1, width).split([heads, keys, keys], 1))
    for which, (weight, epsilon) in enumerate(norms):
        one = parts[which] if weight is None else functional.rms_norm(parts[which], (width,), weight, epsilon)
        parts[which] = one * cosine[:, None] + one.roll(width // 2, -1) * sine[:, None]
    torch.testing.assert_close(query, parts[0])
    kept = buffer.view(12, 2 * keys, width)
    torch.testing.assert_close(kept[places], torch.cat(parts[1:], 1))
    assert not kept[[1, 2, 4, 6, 7, 8, 10]].any(), "another token's place was written"


@pytest.mark.parametrize("window", [None, 3])
def test_each_token_attends_to_its_own_slot(window: int | None) -> None:
    heads, keys, width, ends = 6, 2, 8, [1, 7, 4]
    query, buffer = drawn(3, heads, width), drawn(4, 9, 2 * keys, width)
    slots = [2, 0, 3]
    found = decoding.attend(query, buffer, torch.tensor(slots), torch.tensor(ends), window, 0.3)
    for row, (slot, end) in enumerate(zip(slots, ends, strict=True)):
        seen = buffer[slot, 0 if window is None else max(0, end - window) : end].transpose(0, 1)
        key, value = (half.repeat_interleave(heads // keys, 0) for half in seen.split(keys))
        right = functional.scaled_dot_product_attention(query[row, :, None], key, value, scale=0.3)
        torch.testing.assert_close(found[row], right.flatten())
