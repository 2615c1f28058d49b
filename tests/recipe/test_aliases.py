"""Old spellings: renamed, dropped when they say what Hone does anyway, or refused with the reason."""

from __future__ import annotations

import pytest

from hone.errors import RecipeError
from hone.recipe import settle
from hone.recipe.aliases import OLD
from hone.recipe.schema import all_keys
from hone.recipe.settled import given_value

BASE = {"model_name_or_path": "m", "dataset": "identity", "do_train": True, "val_size": 0.1}


@pytest.mark.parametrize(
    ("old", "value", "key", "now"),
    [
        ("evaluation_strategy", "steps", "eval_strategy", "steps"),
        ("no_cuda", "true", "use_cpu", True),
        ("per_gpu_train_batch_size", "2", "per_device_train_batch_size", 2),
        ("warmup_ratio", "0.1", "warmup_steps", 0.1),
        ("group_by_length", True, "train_sampling_strategy", "group_by_length"),
        ("adafactor", "True", "optim", "adafactor"),
        ("num_layer_trainable", 3, "freeze_trainable_layers", 3),
        ("sft_packing", True, "packing", True),
        ("optim", "adamw_hf", "optim", "adamw_torch"),
        ("flash_attn", "off", "flash_attn", "disabled"),
    ],
)
def test_an_old_name_sets_the_new_key(old, value, key, now):
    recipe = settle(BASE | {old: value}, verb="train")
    assert given_value(recipe, all_keys()[key]) == now


@pytest.mark.parametrize(
    ("old", "value"),
    [
        ("save_safetensors", True),
        ("group_by_length", False),
        ("fp16_backend", "auto"),
        ("half_precision_backend", "auto"),
        ("tpu_num_cores", None),
        ("jit_mode_eval", "False"),
        ("include_tokens_per_second", True),
        ("past_index", -1),
        ("logging_dir", None),
        ("export_legacy_format", "False"),
        ("reserved_label_len", 1),
    ],
)
def test_an_old_key_that_changes_nothing_is_accepted(old, value):
    assert settle(BASE | {old: value}, verb="train").training == settle(BASE, verb="train").training


@pytest.mark.parametrize(
    ("old", "value", "reason"),
    [
        ("save_safetensors", False, "pickled weights are unsafe"),
        ("logging_dir", "runs", "TENSORBOARD_LOGGING_DIR"),
        ("fp16_backend", "apex", "mixed precision"),
        ("push_to_hub_organization", "me", "hub_model_id"),
        ("group_by_length", "maybe", "its new name is train_sampling_strategy"),
    ],
)
def test_an_old_key_that_would_change_something_is_refused_with_the_reason(old, value, reason):
    with pytest.raises(RecipeError, match=reason):
        settle(BASE | {old: value}, verb="train")


def test_old_and_new_name_together_must_agree():
    with pytest.raises(RecipeError, match="the same setting"):
        settle(BASE | {"evaluation_strategy": "steps", "eval_strategy": "epoch"}, verb="train")


def test_warm_up_steps_of_zero_give_way_to_a_share():
    recipe = settle(BASE | {"warmup_steps": 0, "warmup_ratio": 0.1}, verb="train")
    assert recipe.training.arguments["warmup_steps"] == 0.1


def test_no_old_name_hides_a_current_key():
    assert not set(OLD) & set(all_keys())
    assert {old.new for old in OLD.values()} - {""} <= set(all_keys())
