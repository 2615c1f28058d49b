"""The words after the verb: overrides and flags."""

from __future__ import annotations

import pytest

from hone.recipe.words import read_words, split_file


def given(*words):
    entries, faults = read_words(words)
    return {entry.name: entry.value for entry in entries}, [str(fault) for fault in faults]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--lora_rank", "16"], {"lora_rank": "16"}),
        (["--lora-rank=16"], {"lora_rank": "16"}),
        (["lora_rank=16", "run_name=a=b"], {"lora_rank": "16", "run_name": "a=b"}),
        (["--do_train", "--bf16"], {"do_train": "true", "bf16": "true"}),
        (["--do_train", "False", "--plot_loss", "True"], {"do_train": "False", "plot_loss": "True"}),
        (["--export_legacy_format", "False"], {"export_legacy_format": "False"}),
        (["--no_use_fast_tokenizer", "--lora_rank", "8"], {"use_fast_tokenizer": "false", "lora_rank": "8"}),
        (["--do_train", "dataset=a"], {"do_train": "true", "dataset": "a"}),
        (["--freeze_trainable_layers", "-2"], {"freeze_trainable_layers": "-2"}),
        (["--report_to", "wandb", "tensorboard", "--bf16"], {"report_to": ["wandb", "tensorboard"], "bf16": "true"}),
        (["--default_system", "You are a poet."], {"default_system": "You are a poet."}),
        (["--default_system", ""], {"default_system": ""}),
        (["--evaluation_strategy", "steps"], {"evaluation_strategy": "steps"}),
        (["--no_cuda"], {"no_cuda": "true"}),
        (["--overwrite_cache", "--overwrite_output_dir"], {"overwrite_cache": "true", "overwrite_output_dir": "true"}),
        (["--lr_scheduler_kwargs", '{"a": 1}'], {"lr_scheduler_kwargs": '{"a": 1}'}),
    ],
)
def test_words_become_settings(words, values):
    assert given(*words) == (values, [])


def test_a_flag_that_lacks_its_value_is_a_fault():
    assert given("--learning_rate", "--bf16")[1] == [
        "error[CFG-MISSING] --learning_rate: command line: a value must follow"
    ]


def test_a_stray_word_is_a_fault():
    assert "expected a recipe file" in given("--do_train", "maybe")[1][0]
    assert "the recipe file comes first" in given("--do_train", "late.yaml")[1][0]


def test_the_file_is_the_first_word_only():
    assert split_file(["a.yaml", "b=c"]) == ("a.yaml", ["b=c"])
    assert split_file(["extra_config=a.json"]) == (None, ["extra_config=a.json"])
    assert split_file([]) == (None, [])
