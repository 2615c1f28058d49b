"""The first batch and every gradient are looked at, and a number that is none is traced to its rows and its layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hone.errors import DataError, ModelError, NumericError
from hone.recipe import FinetuningSection
from hone.stages import load_stage
from hone.training.audit import Audit
from hone.training.lean import TrainerCallback

Make = Callable[..., Any]


def test_a_first_step_that_learns_nothing_is_refused(make_trainer: Make, random_examples: Make) -> None:
    rows = random_examples(4)
    for row in rows:
        row.labels[:] = -100
    with pytest.raises(DataError, match="none of the"):
        make_trainer(rows, max_steps=1).train()


@pytest.mark.parametrize("part", ["input_ids", "labels"])
def test_an_id_without_an_embedding_is_refused(make_trainer: Make, random_examples: Make, part: str) -> None:
    rows = random_examples(4)
    for row in rows:
        getattr(row, part)[-1] = 4000
    with pytest.raises(ModelError, match="4000 has no embedding: the model has 512"):
        make_trainer(rows, max_steps=1).train()


def test_a_first_loss_worse_than_guessing_is_warned_about(
    make_trainer: Make, random_examples: Make, fresh_model: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    model = fresh_model()
    with torch.no_grad():
        model.lm_head.weight *= 100
    make_trainer(random_examples(4), model=model, max_steps=1).train()
    assert "worse than guessing" in capsys.readouterr().err


def test_a_loss_that_is_no_cross_entropy_is_not_held_against_guessing(capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Linear(2, 2)
    for guessable, expected in ((True, True), (False, False)):
        audit = Audit(model, guessable=guessable)
        model(torch.ones(1, 2)).sum().backward()
        audit.look_at_gradients([torch.tensor(25.0)])
        assert ("worse than guessing" in capsys.readouterr().err) is expected


def test_only_stages_that_learn_tokens_by_their_cross_entropy_are_guessable() -> None:
    settings: list[tuple[dict[str, Any], bool]] = [
        ({"stage": "sft"}, True), ({"stage": "pt"}, True), ({"stage": "dpo", "pref_loss": "ipo"}, False),
        ({"stage": "rm"}, False), ({"stage": "kto"}, False), ({"stage": "sft", "use_dft_loss": True}, False),
    ]  # fmt: skip
    assert [load_stage(FinetuningSection(**one)).guessable for one, _ in settings] == [is_so for _, is_so in settings]


class Cut(TrainerCallback):
    """Cuts a parameter off after the first step, as an evaluation of 4-bit weights may."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        norm = model.model.norm
        norm.forward = lambda hidden: hidden * norm.weight.detach()


def test_a_parameter_that_stops_to_learn_ends_the_run(make_trainer: Make, random_examples: Make) -> None:
    with pytest.raises(ModelError, match=r"get no gradient any more: model\.norm\.weight"):
        make_trainer(random_examples(8), watchers=[Cut()], max_steps=4).train()


def test_the_example_and_the_layer_of_a_loss_that_is_no_number_are_named(
    make_trainer: Make, random_examples: Make, fresh_model: Make
) -> None:
    rows = random_examples(8)
    rows[5].input_ids[0] = 301  # no other example has this token
    model = fresh_model()

    def spoil(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output + torch.where(inputs[0] == 301, float("nan"), 0.0)[..., None]

    model.get_input_embeddings().register_forward_hook(spoil)
    with pytest.raises(NumericError, match=r"example 5, first in model\.embed_tokens") as stopped:
        make_trainer(rows, model=model, max_steps=8, per_device_train_batch_size=2).train()
    assert stopped.value.exit_code == 7


def test_one_gradient_that_is_no_number_is_named(make_trainer: Make, random_examples: Make, fresh_model: Make) -> None:
    model = fresh_model()
    weight = model.model.layers[1].mlp.down_proj.weight
    weight.register_hook(lambda grad: grad * float("nan"))
    with pytest.raises(NumericError, match=r"the gradient of model\.layers\.1\.mlp\.down_proj\.weight"):
        make_trainer(random_examples(4), model=model, max_steps=2).train()


def test_a_weight_that_is_no_number_is_named(make_trainer: Make, random_examples: Make, fresh_model: Make) -> None:
    model = fresh_model()
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[0, 0] = float("inf")
    with pytest.raises(NumericError, match=r"the weight model\.layers\.2\.mlp\.up_proj\.weight is not finite"):
        make_trainer(random_examples(4), model=model, max_steps=2).train()
