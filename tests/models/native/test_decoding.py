"""Machine code of a step of many requests: products with panels, heads turned and kept, attention in slots."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hone.models.native import build, decoding, panels, step

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


SIZES = step.Sizes(hidden=20, heads=4, keys=2, width=6, inner=14)


def blocks(normed: bool, window: int | None) -> list[tuple[step.Layer, list[torch.Tensor]]]:
    """Two blocks and their weights [outputs, inputs]: the first as halves, the second as whole numbers."""
    made = []
    for number in range(2):
        shapes = [(48, 20), (20, 24), (28, 20), (20, 14)]
        weights = [drawn(*shape).add(number / 64).div(4) for shape in shapes]
        weights = [weight.bfloat16().float() if number == 0 else weight for weight in weights]
        biases = [drawn(len(weight)) if number else None for weight in weights]
        laid = [panels.panels(weight, half=panels.exact(weight)) for weight in weights]
        norms = [(drawn(20 + one)[:20].contiguous(), 1e-5) for one in range(2)]
        of_heads = [(drawn(9 + one)[:6].contiguous() if normed else None, 1e-6) for one in range(2)]
        layer = step.Layer([*norms, *of_heads], list(zip(laid, biases, strict=True)), window, 0.4)
        made.append((layer, weights))
    return made


def by_hand(
    states: torch.Tensor, made: list[tuple[step.Layer, list[torch.Tensor]]], where: step.Where, more: list[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The same step by functions that are tested above and products of torch; `more`: what adapters add to weights, by
    token, [T, outputs, inputs] for each product."""
    buffers = [torch.zeros(3, 5, 4, 6) for _ in made]
    for number, (layer, weights) in enumerate(made):
        whole = [weight + one for weight, one in zip(weights, more[4 * number :], strict=False)]
        through = [
            lambda x, w=w, b=b: torch.einsum("toi,ti->to", w, x) + (0 if b is None else b)
            for w, (_, b) in zip(whole, layer.products, strict=True)
        ]
        calm = functional.rms_norm(states, (20,), layer.norms[0][0], layer.norms[0][1])
        heads = decoding.Heads(4, 2, 6, *layer.norms[2:])
        query = decoding.settle(through[0](calm), where.turn, where.places, buffers[number], heads)
        attended = decoding.attend(query, buffers[number], where.slots, where.ends, layer.window, layer.scale)
        states = states + through[1](attended)
        calm = functional.rms_norm(states, (20,), layer.norms[1][0], layer.norms[1][1])
        gate, up = through[2](calm).chunk(2, -1)
        states = states + through[3](functional.silu(gate) * up)
    return states, buffers


@pytest.mark.parametrize("adapters", [True, False])
@pytest.mark.parametrize("normed, window", [(True, None), (False, 2)])
def test_blocks_in_one_call_are_the_blocks(normed: bool, window: int | None, adapters: bool) -> None:
    """Five tokens in two slots, three a prompt; the adapters have ranks 3 and 2, the second none at the exit."""
    made = blocks(normed, window)
    places = torch.tensor([0, 1, 2, 10, 11])
    where = step.Where((drawn(5, 1, 6), drawn(5, 1, 7)[..., :6].contiguous()), places, places // 5, places % 5 + 1)
    owners = torch.tensor([0, -1, 1, 1, 0])
    products: list[tuple[torch.Tensor, torch.Tensor, tuple[int, ...]] | None] = []
    more = []
    for place, weight in enumerate(weight for _, weights in made for weight in weights):
        ranks = (3, 0) if place % 4 == 1 else (3, 2)
        down, up = drawn(sum(ranks), weight.shape[1]), drawn(len(weight), sum(ranks)).div(8)
        products.append((down, up, ranks) if adapters and place != 6 else None)
        both = [up[:, :3] @ down[:3], up[:, 3:] @ down[3:], torch.zeros_like(weight)]
        more.append(torch.stack([both[owner] if products[-1] else both[2] for owner in owners.tolist()]))
    expected, kept = by_hand(drawn(5, 20), made, where, more)
    buffers = [torch.zeros(3, 5, 4, 6) for _ in made]
    told = (step.Adapters(products), owners) if adapters else (None, None)
    found = step.Step([layer for layer, _ in made], SIZES)(drawn(5, 20), where, buffers, *told)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for buffer, right in zip(buffers, kept, strict=True):
        torch.testing.assert_close(buffer, right, rtol=1e-4, atol=1e-4)


def test_a_step_refuses_buffers_of_other_blocks() -> None:
    made = step.Step([layer for layer, _ in blocks(normed=False, window=None)], SIZES)
    where = step.Where((torch.ones(1, 1, 6), torch.ones(1, 1, 6)), *(torch.tensor([one]) for one in (0, 0, 1)))
    with pytest.raises(RuntimeError, match="buffers"):
        made(torch.zeros(1, 20), where, [torch.zeros(1, 1, 4, 6)], None, None)
