"""A tiny model, random examples and a trainer, put together in a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hone.dialogue.example import Example
from hone.recipe.schema.finetuning import FinetuningSection
from hone.recipe.schema.training import TrainingSection


def draw_examples(count: int, *, seed: int = 0, longest: int = 24) -> list[Example]:
    """Examples of different lengths whose first third is not learned."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids = draw.integers(5, 300, int(draw.integers(4, longest))).astype(np.int32)
        labels = ids.copy()
        labels[: max(1, len(ids) // 3)] = -100
        made.append(Example(ids, labels))
    return made


def join_examples(examples: Sequence[Example]) -> Example:
    """Several examples as one."""
    return Example(
        np.concatenate([one.input_ids for one in examples]),
        np.concatenate([one.labels for one in examples]),
        tuple(len(one.input_ids) for one in examples),
    )


@pytest.fixture
def random_examples() -> Callable[..., list[Example]]:
    """`random_examples(8, seed=1)`."""
    return draw_examples


@pytest.fixture
def packed() -> Callable[[Sequence[Example]], Example]:
    """`packed(examples)` is one example of several segments."""
    return join_examples


@pytest.fixture
def fresh_model(tiny_model: Callable[[str], Path]) -> Callable[[], Any]:
    """The same tiny model, new each time."""

    def load() -> Any:
        from transformers import AutoModelForCausalLM

        from hone.models.attention import use_packed_attention

        model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"))
        use_packed_attention(model)
        return model

    return load


@pytest.fixture
def make_trainer(
    fresh_model: Callable[[], Any], tiny_model: Callable[[str], Path], tmp_path: Path
) -> Callable[..., Any]:
    """`make_trainer(examples, max_steps=3, …)`; keywords are training arguments, a few go to the trainer."""

    def make(train: Any = None, *, model: Any = None, folder: Path = tmp_path / "run", **arguments: Any) -> Any:
        from transformers import AutoTokenizer

        from hone.models.save import save_model
        from hone.stages.sft import Stage
        from hone.training.arguments import trainer_arguments
        from hone.training.trainer import StageTrainer

        tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
        extra = {
            name: arguments.pop(name)
            for name in ("evals", "shuffle", "watchers", "pace", "keeper")
            if name in arguments
        }
        accuracy = arguments.pop("compute_accuracy", False)
        defaults = {
            "use_cpu": True,
            "logging_steps": 1,
            "save_strategy": "no",
            "learning_rate": 1e-3,
            "report_to": "none",
        }
        section = TrainingSection(output_dir=str(folder), arguments={**defaults, **arguments})
        return StageTrainer(
            model or fresh_model(),
            trainer_arguments(section),
            Stage(FinetuningSection(compute_accuracy=accuracy)),
            write=lambda model, folder: save_model(model, tokenizer, folder),
            train=train,
            **extra,
        )

    return make
