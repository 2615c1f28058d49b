"""Rows of bfloat16 come in few lengths, and nothing that is learned changes by it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from test_beginnings import batch, make, outcome, seen_by

from hone.models import label_states
from hone.models.lengths import LEAST, STEPS, round_length


def in_half(**settings: Any) -> Any:
    """A model as training with `bf16: true` holds it: frozen weights in bfloat16, those of LoRA in float32."""
    model = make(quick=False, **settings)
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if "lora_" in name else torch.bfloat16)
    return model


@pytest.mark.parametrize("common", [20, 3], ids=["a common beginning", "nothing in common"])
def test_loss_slopes_and_ends_are_those_of_the_row_as_it_is(common: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, told = in_half(), batch(common=common, twin=False)
    counts = seen_by(model)
    with torch.autocast("cpu", torch.bfloat16):
        found = outcome(model, told)
    assert all(count % LEAST == 0 for count in counts[-2:])
    monkeypatch.setattr(label_states, "filled", lambda _model, _base, _batch, once: once)
    with torch.autocast("cpu", torch.bfloat16):
        right = outcome(model, told)
    assert counts[-1] % LEAST
    assert found.keys() == right.keys()
    for name, wanted in right.items():
        assert float((found[name] - wanted).norm()) <= 2e-2 * max(float(wanted.norm()), 1e-3), name


def test_float32_and_dropout_run_what_they_are_given() -> None:
    for model in (make(), in_half(lora_dropout=0.1)):
        counts = seen_by(model)
        label_states.label_states(model, batch(common=3, twin=False))
        assert counts[-1] == batch(common=3, twin=False)["input_ids"].shape[1]


def test_lengths_are_few_and_little_longer() -> None:
    for length in range(1, 20_000):
        assert length <= round_length(length) < length + max(LEAST, length / STEPS + 1)
    assert len({round_length(length) for length in range(1025, 2049)}) == STEPS
    assert {round_length(length) for length in range(993, 1025)} == {1024}
