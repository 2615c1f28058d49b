"""Writing a recipe down: readable again, secrets masked."""

from __future__ import annotations

import pytest

from hone.recipe import as_dict, as_yaml, read_recipe, settle
from hone.recipe.schema import all_keys
from hone.recipe.settled import assemble

GIVEN = {
    "model_name_or_path": "模型/m 😀",
    "dataset": ["a", "b"],
    "do_train": True,
    "learning_rate": 1e-4,
    "run_name": "08",
    "default_system": "null",
    "template": "qwen",
    "eval_strategy": "no",
    "lr_scheduler_kwargs": {"min_lr": 1e-5},
    "enable_thinking": None,
    "ddp_timeout": 180000000,
}


def test_a_settled_recipe_reads_back_the_same(tmp_path):
    recipe = settle(GIVEN, verb="train")
    file = tmp_path / "settled.yaml"
    file.write_text(as_yaml(recipe), encoding="utf-8")
    again = read_recipe([str(file)], verb="train")
    assert as_dict(again) == as_dict(recipe)
    assert again.training.arguments["lr_scheduler_kwargs"] == {"min_lr": 1e-5}


def test_only_the_given_keys_may_be_asked_for():
    assert as_dict(settle(GIVEN, verb="train"), only_given=True) == GIVEN


@pytest.mark.parametrize("name", [key.name for key in all_keys().values() if key.about.secret])
def test_secrets_are_masked_wherever_a_recipe_is_written(name):
    recipe = assemble(GIVEN | {name: "tok_12345678"}, verb="train")
    assert "tok_12345678" not in as_yaml(recipe)
    assert as_dict(recipe)[name] == "********"
    assert as_dict(recipe, mask_secrets=False)[name] == "tok_12345678"


def test_every_key_that_names_a_secret_is_marked_as_one():
    words = ("token", "api_key", "secret", "webhook", "password")
    counted = {"ignore_pad_token_for_loss", "moe_token_dispatcher_type", "calculate_per_token_loss"}
    named = {name for name in all_keys() if any(word in name for word in words)}
    of_text = {name for name in named if any(word in name for word in ("tokens", "tokenizer", "tokenized"))}
    assert named - of_text - counted == {name for name, key in all_keys().items() if key.about.secret}
