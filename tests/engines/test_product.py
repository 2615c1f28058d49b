"""Products of few rows are a linear layer's, whatever way is taken."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize(("threads", "outputs"), [(1, 48), (2, 48), (2, 47)])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_a_linear_layers(rows: int, threads: int, outputs: int, biased: bool) -> None:
    import torch

    from hone.engines.product import product

    before = torch.get_num_threads()
    random = torch.Generator().manual_seed(rows)
    states, weight = torch.randn(rows, 33, generator=random), torch.randn(outputs, 33, generator=random)
    bias = torch.randn(outputs, generator=random) if biased else None
    try:
        torch.set_num_threads(threads)
        found = product(states, weight, bias)
    finally:
        torch.set_num_threads(before)
    assert found.is_contiguous()
    torch.testing.assert_close(found, torch.nn.functional.linear(states, weight, bias))
