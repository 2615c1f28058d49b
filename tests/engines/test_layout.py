"""Layers laid out for decoding compute what they computed before, and share what they shared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hone.engines.layout import ColumnLinear, lay_out_for_decoding


@pytest.mark.parametrize("rows", [(1, 1), (1,), (1, 5), (3, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_the_same_within_rounding(rows: tuple[int, ...], bias: bool) -> None:
    plain = nn.Linear(96, 40, bias=bias)
    given = torch.randn(*rows, 96)
    wanted = plain(given)
    for shares in (1, 2, 3):
        found = ColumnLinear(plain, shares)(given)
        assert found.shape == wanted.shape
        assert torch.allclose(found, wanted, atol=1e-5)


def test_a_head_tied_to_the_embedding_stays_tied() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(50, 16), "head": nn.Linear(16, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    before = model["embed"].weight.detach().clone()
    lay_out_for_decoding(model)
    assert isinstance(model["head"], ColumnLinear)
    assert model["head"].weight.data_ptr() == model["embed"].weight.data_ptr()
    assert torch.equal(model["embed"](torch.arange(50)), before)


def test_other_number_formats_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(8, 8).bfloat16())
    lay_out_for_decoding(model)
    assert type(model[0]) is nn.Linear
