"""What a written word becomes is decided by its key."""

from __future__ import annotations

import pytest

from hone.recipe.schema import all_keys
from hone.recipe.values import MisfitError, Plain, fit, natural

GOOD = [
    ("learning_rate", "1e-4", 1e-4),
    ("learning_rate", "5", 5.0),
    ("learning_rate", ".5", 0.5),
    ("lora_rank", "08", 8),
    ("lora_rank", "16.0", 16),
    ("max_samples", "1e3", 1000),
    ("max_samples", "null", None),
    ("logging_steps", "10", 10),
    ("logging_steps", "0.1", 0.1),
    ("freeze_trainable_layers", "-2", -2),
    ("template", "no", "no"),
    ("template", "on", "on"),
    ("template", "08", "08"),
    ("run_name", "2026-11-01", "2026-11-01"),
    ("run_name", "1e4", "1e4"),
    ("report_to", "none", ("none",)),
    ("report_to", "[wandb, tensorboard]", ("wandb", "tensorboard")),
    ("dataset", " a , b ,", ("a", "b")),
    ("dataset", '["a", "b"]', ("a", "b")),
    ("adapter_name_or_path", "null", ()),
    ("do_train", "yes", True),
    ("do_train", "True", True),
    ("do_train", "0", False),
    ("enable_thinking", "null", None),
    ("interleave_probs", "0.7,0.3", (0.7, 0.3)),
    ("lr_scheduler_kwargs", '{"min_lr": 1e-5}', {"min_lr": 1e-5}),
    ("lr_scheduler_kwargs", "{min_lr: 1e-5, name: no}", {"min_lr": 1e-5, "name": "no"}),
    ("deepspeed", "ds.json", "ds.json"),
    ("include_num_input_tokens_seen", "true", True),
    ("include_num_input_tokens_seen", "all", "all"),
]


@pytest.mark.parametrize(("name", "word", "value"), GOOD)
def test_a_plain_word_means_what_its_key_takes(name, word, value):
    fitted = fit(all_keys()[name], Plain(word))
    assert fitted == value
    assert type(fitted) is type(value)


BAD = [
    ("learning_rate", "fast", "must be a number, not fast"),
    ("learning_rate", "-1", "must be >= 0, not -1"),
    ("learning_rate", "nan", "must be a number"),
    ("learning_rate", "inf", "must be a number"),
    ("learning_rate", "1e999", "must be a number"),
    ("lora_rank", "1.5", "must be a whole number"),
    ("lora_rank", "9" * 5000, "must be a whole number"),
    ("lora_rank", "true", "must be a whole number"),
    ("do_train", "maybe", "must be true or false"),
    ("stage", "stf", "did you mean sft?"),
    ("stage", "", "needs a value"),
    ("output_dir", "a\0b", "must be text"),
    ("vllm_config", "{broken", "must be a mapping"),
    ("dataset", "[a, {b: 1}]", "must be a list"),
]


@pytest.mark.parametrize(("name", "word", "said"), BAD)
def test_a_word_its_key_cannot_take_is_refused_with_the_reason(name, word, said):
    with pytest.raises(MisfitError, match=said.replace("?", r"\?")):
        fit(all_keys()[name], Plain(word))


def test_a_quoted_word_is_never_nothing():
    assert fit(all_keys()["default_system"], "") == ""
    assert fit(all_keys()["run_name"], "null") == "null"


def test_a_quoted_number_is_still_a_number():
    assert fit(all_keys()["lora_rank"], "16") == 16


def test_truth_is_no_text():
    with pytest.raises(MisfitError):
        fit(all_keys()["template"], False)


def test_a_secret_is_not_repeated_in_a_fault():
    with pytest.raises(MisfitError) as caught:
        fit(all_keys()["hub_token"], ["hf_verysecret"])
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [("1e-4", 1e-4), ("no", "no"), ("true", True), ("~", None), ("08", 8), ("1.2.3", "1.2.3"), ("None", "None")],
)
def test_a_word_without_a_key_follows_yaml_1_2(word, value):
    assert natural(Plain(word)) == value
