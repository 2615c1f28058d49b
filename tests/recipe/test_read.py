"""A recipe from what the user wrote: all faults at once, old names, overrides, derived defaults."""

from __future__ import annotations

import pytest

from hone.errors import RecipeError
from hone.recipe import read_recipe, settle

BASE = {"model_name_or_path": "m", "dataset": "identity", "do_train": True}


def faults(values, verb="train", **options):
    with pytest.raises(RecipeError) as caught:
        settle(values, verb=verb, **options)
    assert caught.value.exit_code == 2
    return [str(fault) for fault in caught.value.faults]


def test_a_misspelt_key_is_named_with_file_line_and_the_right_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(
        "\n" * 6 + "learing_rate: 1e-4\nmodel_name_or_path: m\ndo_train: yes\ndataset: a\n"
    )
    with pytest.raises(RecipeError) as caught:
        read_recipe(["train.yaml"], verb="train")
    assert str(caught.value) == "error[CFG-UNKNOWN] learing_rate: train.yaml:7: did you mean learning_rate?"


def test_all_faults_are_told_at_once():
    bad = {
        "learning_rate": -1,
        "per_device_train_batch_size": 0,
        "cutoff_len": 0,
        "lora_rank": 0,
        "val_size": 1.5,
        "num_train_epochs": "three",
        "bf16": True,
        "fp16": True,
        "template": "lama3",
    }
    found = faults(BASE | bad)
    assert len(found) == 8
    for key in bad:
        assert sum(f" {key}" in fault.split(":")[0] for fault in found) == 1, key
    assert "error[CFG-VALUE] learning_rate: must be >= 0, not -1" in found
    assert "error[CFG-VALUE] template: no template is called lama3; did you mean llama3?" in found


def test_an_override_beats_the_file_and_flags_may_follow_it(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("model_name_or_path: m\ndataset: a, b\ndo_train: true\nlora_rank: 8\nlearning_rate: 1e-4\n")
    recipe = read_recipe([str(file), "lora_rank=16", "--bf16", "--run_name", "two words"], verb="train")
    assert (recipe.finetuning.lora_rank, recipe.training.bf16, recipe.training.run_name) == (16, True, "two words")
    assert recipe.training.learning_rate == 1e-4
    assert recipe.data.dataset == ("a", "b")


def test_the_tutorials_training_command_is_read_unmodified():
    words = """--stage sft --do_train --model_name_or_path m --dataset alpaca_gpt4_zh,identity,adgen_local
        --dataset_dir ./data --template llama3 --finetuning_type lora --output_dir ./saves/LLaMA3-8B/lora/sft
        --overwrite_cache --overwrite_output_dir --cutoff_len 1024 --preprocessing_num_workers 16
        --per_device_train_batch_size 2 --per_device_eval_batch_size 1 --gradient_accumulation_steps 8
        --lr_scheduler_type cosine --logging_steps 50 --warmup_steps 20 --save_steps 100 --eval_steps 50
        --evaluation_strategy steps --load_best_model_at_end --learning_rate 5e-5 --num_train_epochs 5.0
        --max_samples 1000 --val_size 0.1 --plot_loss --fp16"""
    recipe = read_recipe(words.split(), verb="train")
    assert recipe.data.dataset == ("alpaca_gpt4_zh", "identity", "adgen_local")
    assert recipe.training.eval_strategy == "steps"
    assert recipe.data.overwrite_cache and recipe.training.overwrite_output_dir
    assert dict(recipe.training.arguments) == {
        "do_train": True,
        "output_dir": "./saves/LLaMA3-8B/lora/sft",
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "lr_scheduler_type": "cosine",
        "logging_steps": 50,
        "warmup_steps": 20,
        "save_steps": 100,
        "eval_steps": 50,
        "eval_strategy": "steps",
        "load_best_model_at_end": True,
        "learning_rate": 5e-5,
        "num_train_epochs": 5.0,
        "fp16": True,
    }


def test_blanks_are_filled():
    recipe = settle(BASE, verb="train")
    assert recipe.finetuning.lora_alpha == 16
    assert recipe.data.packing is False
    assert recipe.data.media_dir == "data"
    assert recipe.training.output_dir == "trainer_output"
    assert settle(BASE | {"stage": "pt"}, verb="train").data.packing is True
    assert settle(BASE | {"stage": "pt", "packing": False}, verb="train").data.packing is False
    assert settle(BASE | {"neat_packing": True}, verb="train").data.packing is True
    evaluating = settle(BASE | {"eval_strategy": "steps", "val_size": 0.1, "logging_steps": 7}, verb="train").training
    assert (evaluating.eval_steps, evaluating.do_eval) == (7, True)


def test_a_recipe_cannot_be_changed():
    recipe = settle(BASE, verb="train")
    with pytest.raises(AttributeError):
        recipe.data.cutoff_len = 3
    with pytest.raises(TypeError):
        recipe.training.arguments["seed"] = 3


def test_the_keys_that_were_given_are_remembered_under_their_current_names():
    assert settle(BASE | {"evaluation_strategy": "no"}, verb="train").given == {*BASE, "eval_strategy"}


def test_extra_keys_are_ignored_only_when_the_environment_says_so(monkeypatch, capsys):
    assert "no_such_thing_at_all" in faults(BASE | {"no_such_thing_at_all": 1})[0]
    monkeypatch.setenv("ALLOW_EXTRA_ARGS", "1")
    settle(BASE | {"no_such_thing_at_all": 1}, verb="train")
    assert "ignored" in capsys.readouterr().err


def test_keys_of_another_verb_are_told_not_swallowed(capsys):
    settle({"model_name_or_path": "m", "learning_rate": 1e-4, "seed": 3}, verb="chat")
    assert capsys.readouterr().err == "warning: not used by chat: learning_rate\n"


def test_known_templates_may_be_passed():
    assert settle(BASE | {"template": "mine"}, verb="train", templates=["mine"]).data.template == "mine"
    assert "the templates are mine" in faults(BASE | {"template": "zzz"}, templates=["mine"])[0]


def test_a_masked_secret_is_not_taken_for_a_token(capsys):
    assert settle(BASE | {"hf_hub_token": "********"}, verb="train").model.hf_hub_token is None
    assert "masked" in capsys.readouterr().err
