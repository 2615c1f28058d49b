"""Products of few rows are a linear layer's, whatever way is taken."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 70])
@pytest.mark.parametrize(("threads", "outputs"), [(1, 48), (2, 48), (2, 47)])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_a_linear_layers(rows: int, threads: int, outputs: int, biased: bool, packed: bool) -> None:
    import torch

    from hone.engines.product import pack, product

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


def test_a_second_copy_of_weights_is_made_only_where_it_fits() -> None:
    import torch

    from hone.engines.product import pack

    weights = [torch.randn(16, 8), torch.randn(8, 8)]
    assert pack(weights, sum(weight.nbytes for weight in weights) - 1) == [None, None]
    assert pack([weights[0].bfloat16()], 10**6) == [None]
