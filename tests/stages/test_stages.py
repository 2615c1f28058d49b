"""Stages: the folder is the registry; what a batch weighs, what a stage measures, and that it pickles."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from hone.dialogue.example import Example
from hone.dialogue.records import Chat, Document
from hone.errors import RecipeError
from hone.recipe import FinetuningSection
from hone.registry import names
from hone.stages import load_stage


def test_the_folder_is_the_registry() -> None:
    assert set(names("hone.stages")) >= {"pt", "sft"}
    for name in names("hone.stages"):
        stage = load_stage(FinetuningSection(stage=name))  # type: ignore[arg-type]
        assert stage.name == name
        assert type(pickle.loads(pickle.dumps(stage))) is type(stage)
    assert load_stage(FinetuningSection(stage="sft")).record is Chat
    assert load_stage(FinetuningSection(stage="pt")).record is Document


def test_a_stage_that_is_not_built_is_a_fault_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match="stage"):
        load_stage(FinetuningSection(stage="none"))  # type: ignore[arg-type]


def test_a_batch_weighs_its_label_tokens_the_first_ones_included() -> None:
    ids = np.arange(1, 6, dtype=np.int32)
    batch = load_stage(FinetuningSection(stage="pt")).collate(
        [Example(ids, ids.copy()), Example(ids[:2], ids[:2].copy())]
    )
    assert batch["input_ids"].shape == (1, 7)
    assert batch["labels"][0].tolist() == [-100, 2, 3, 4, 5, -100, 2]
    assert load_stage(FinetuningSection(stage="pt")).weight(batch) == 7


def test_pretraining_sums_up_with_the_perplexity() -> None:
    stage = load_stage(FinetuningSection(stage="pt"))
    assert stage.summary({"eval_loss": 2.0}, "eval") == {"eval_perplexity": math.exp(2.0)}
    assert stage.summary({"eval_loss": 1e4}, "eval") == {"eval_perplexity": math.inf}


def test_accuracy_is_measured_only_when_asked_for() -> None:
    assert load_stage(FinetuningSection(compute_accuracy=True)).measures == ("accuracy",)
    assert load_stage(FinetuningSection()).measures == ()
