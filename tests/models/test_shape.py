"""What a recipe changes of a model's config: longer positions, weights at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import ModelError
from hone.models.load import load_model
from hone.recipe import ModelSection


def load(folder: Path, **wishes: Any) -> Any:
    more = {name: wishes.pop(name) for name in ("reach", "training") if name in wishes}
    section = ModelSection(model_name_or_path=str(folder), **wishes)
    return load_model(section, dtype=torch.float32, device=torch.device("cpu"), **more)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
def test_positions_are_stretched_by_the_whole_factor_needed(folder: Path, kind: str) -> None:
    config = load(folder, rope_scaling=kind, reach=1100, training=True).config
    rope = config.rope_parameters
    assert (rope["rope_type"], rope["factor"]) == (kind, 3.0)
    assert config.max_position_embeddings == 1536
    assert rope.get("original_max_position_embeddings") == (None if kind == "linear" else 512)
    assert (rope.get("low_freq_factor"), rope.get("high_freq_factor")) == (
        (1.0, 4.0) if kind == "llama3" else (None, None)
    )


def test_linear_positions_are_those_of_a_third_of_the_place(folder: Path) -> None:
    ids = torch.tensor([[1, 5, 9, 200]])
    plain, stretched = load(folder), load(folder, rope_scaling="linear", reach=1500, training=True)
    with torch.no_grad():
        assert not torch.allclose(plain(ids).logits, stretched(ids).logits, atol=1e-5)
        apart = stretched(ids, position_ids=torch.tensor([[0, 3, 6, 9]])).logits
        assert torch.allclose(apart, plain(ids, position_ids=torch.tensor([[0, 1, 2, 3]])).logits, atol=1e-5)


def test_generating_doubles_and_a_short_training_stretches_nothing(folder: Path, capsys: Any) -> None:
    assert load(folder, rope_scaling="yarn").config.rope_parameters["factor"] == 2.0
    config = load(folder, rope_scaling="yarn", reach=512, training=True).config
    assert config.rope_parameters.get("rope_type", "default") == "default"
    assert "nothing is stretched" in capsys.readouterr().err


def test_positions_that_are_stretched_already_are_left(folder: Path, tmp_path: Path) -> None:
    load(folder, rope_scaling="linear", reach=1100, training=True).save_pretrained(tmp_path / "long")
    with pytest.raises(ModelError, match=r"stretched already \(linear, up to 1536 tokens\)"):
        load(tmp_path / "long", rope_scaling="yarn", reach=4000, training=True)
    assert load(tmp_path / "long").config.rope_parameters["factor"] == 3.0


def test_from_scratch_is_the_shape_with_other_weights(tiny_model: Callable[[str], Path]) -> None:
    folder = tiny_model("qwen2")
    plain, fresh = load(folder, training=True), load(folder, train_from_scratch=True, training=True)
    assert {n: p.shape for n, p in plain.named_parameters()} == {n: p.shape for n, p in fresh.named_parameters()}
    assert not torch.equal(plain.model.embed_tokens.weight, fresh.model.embed_tokens.weight)
    again = load(folder, train_from_scratch=True)  # generating: the weights are those of the folder
    assert torch.equal(plain.model.embed_tokens.weight, again.model.embed_tokens.weight)
