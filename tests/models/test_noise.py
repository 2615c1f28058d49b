"""NEFTune: noise in training alone, as large as each segment's own length says, also under adapters and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hone.models.attention import use_packed_attention
from hone.models.label_states import label_states
from hone.models.load import load_model
from hone.models.noise import add_noise
from hone.models.speed.quicken import quicken
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection

WIDTH = 64


def seen_by(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the embeddings answer while a batch runs through the model."""
    answers: list[torch.Tensor] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda _m, _i, output: answers.append(output))
    try:
        label_states(model, batch)
    finally:
        hook.remove()
    return answers[-1].detach()[0]


def batch(*lengths: int) -> dict[str, torch.Tensor]:
    total = sum(lengths)
    ids = torch.arange(5, 5 + total)[None]
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    borders = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return {"input_ids": ids, "labels": ids, "position_ids": places, "cu_seqlens": borders}


def tuned(folder: Path) -> Any:
    section = ModelSection(model_name_or_path=str(folder))
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"), training=True)
    return attach(model, FinetuningSection(), section, training=True)


def test_each_segment_gets_the_noise_of_its_own_length(folder: Path) -> None:
    model = tuned(folder)
    table = model.get_input_embeddings().weight.detach()
    add_noise(model, 5.0)
    use_packed_attention(model)
    assert quicken(model).blocks == 3
    row = batch(4, 100)
    noise = seen_by(model, row) - table[row["input_ids"][0]]
    for piece, length in ((noise[:4], 4), (noise[4:], 100)):
        bound = 5.0 / (length * WIDTH) ** 0.5
        assert 0.8 * bound < piece.abs().max() <= bound * 1.0001
        assert abs(float(piece.mean())) < bound / 5
    assert not torch.equal(noise, seen_by(model, row) - table[row["input_ids"][0]])


def test_there_is_none_in_evaluations_and_without_a_wish(folder: Path) -> None:
    row = batch(4, 6)
    for alpha, evaluating in ((5.0, True), (None, False), (0.0, False)):
        model = tuned(folder)
        add_noise(model, alpha)
        use_packed_attention(model)
        model.train(not evaluating)
        assert torch.equal(seen_by(model, row), model.get_input_embeddings().weight[row["input_ids"][0]])
