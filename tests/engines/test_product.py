"""Products of few rows are a linear layer's, whatever way is taken."""

from __future__ import annotations

import time

import pytest


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 70])
@pytest.mark.parametrize(("threads", "outputs"), [(1, 48), (2, 48), (2, 47)])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_a_linear_layers(
    rows: int, threads: int, outputs: int, biased: bool, packed: bool, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from hone.engines import product as ways
    from hone.engines.product import pack, product

    monkeypatch.setattr(ways, "_plain", lambda _rows, _threads: plain)

    before = torch.get_num_threads()
    random = torch.Generator().manual_seed(rows)
    states, weight = torch.randn(rows, 33, generator=random), torch.randn(outputs, 33, generator=random)
    bias = torch.randn(outputs, generator=random) if biased else None
    try:
        torch.set_num_threads(threads)
        second = pack([weight], weight.nbytes)[0] if packed else None
        found = product(states, weight, bias, second)
    finally:
        torch.set_num_threads(before)
    assert found.is_contiguous()
    torch.testing.assert_close(found, torch.nn.functional.linear(states, weight, bias))


@pytest.mark.parametrize("slow", ["linear", "_shared_out"])
def test_the_way_that_is_much_faster_here_is_chosen_once(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from hone.engines import product as ways

    def hindered(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return states @ weight.t()

    ways._plain.cache_clear()
    drawn = torch.get_rng_state()
    monkeypatch.setattr(torch.nn.functional if slow == "linear" else ways, slow, hindered)
    assert ways._plain(1, torch.get_num_threads()) == (slow != "linear")
    assert torch.equal(torch.get_rng_state(), drawn), "a run that measures would go on with other random numbers"
    monkeypatch.undo()
    assert ways._plain(1, torch.get_num_threads()) == (slow != "linear")
    ways._plain.cache_clear()


def test_a_second_copy_of_weights_is_made_only_where_it_fits() -> None:
    import torch

    from hone.engines.product import pack

    weights = [torch.randn(16, 8), torch.randn(8, 8)]
    assert pack(weights, sum(weight.nbytes for weight in weights) - 1) == [None, None]
    assert pack([weights[0].bfloat16()], 10**6) == [None]
