"""Rules between keys: each breach is told with the keys it is about."""

from __future__ import annotations

import pytest

from hone.errors import RecipeError
from hone.recipe import settle
from hone.recipe.rules import used_sections
from hone.recipe.schema import all_keys

TRAIN = {"model_name_or_path": "m", "dataset": "identity", "do_train": True}
EVAL = TRAIN | {"val_size": 0.1}
BREACHES = [
    ({"model_name_or_path": None}, "error[CFG-MISSING] model_name_or_path"),
    ({"dataset": ""}, "error[CFG-MISSING] dataset"),
    ({"do_train": False}, "error[CFG-MISSING] do_train"),
    ({"val_size": 0.1, "eval_dataset": "b"}, "error[CFG-CONFLICT] val_size and eval_dataset"),
    ({"mask_history": True, "train_on_prompt": True}, "error[CFG-CONFLICT] mask_history and train_on_prompt"),
    ({"do_eval": True}, "error[CFG-MISSING] do_eval"),
    ({"eval_strategy": "steps"}, "error[CFG-MISSING] eval_strategy"),
    ({"stage": "pt", "neat_packing": True}, "error[CFG-CONFLICT] neat_packing: belongs to stage sft"),
    ({"stage": "pt", "mask_history": True}, "error[CFG-CONFLICT] mask_history: belongs to stage sft"),
    ({"finetuning_type": "full", "use_dora": True}, "error[CFG-CONFLICT] use_dora"),
    ({"finetuning_type": "full", "adapter_name_or_path": "a"}, "error[CFG-CONFLICT] adapter_name_or_path"),
    ({"create_new_adapter": True}, "error[CFG-CONFLICT] create_new_adapter"),
    ({"finetuning_type": "freeze", "freeze_trainable_layers": 0}, "error[CFG-CONFLICT] freeze_trainable_layers"),
    ({"pure_bf16": True, "fp16": True}, "error[CFG-CONFLICT] pure_bf16 and fp16"),
    ({"save_steps": 2.5}, "error[CFG-VALUE] save_steps"),
    ({"warmup_ratio": 1.5}, "error[CFG-VALUE] warmup_steps"),
    ({"early_stopping_steps": 2}, "error[CFG-CONFLICT] early_stopping_steps"),
    ({"dataloader_prefetch_factor": 2}, "error[CFG-CONFLICT] dataloader_prefetch_factor"),
    ({"lr_scheduler_type": "greedy"}, "error[CFG-CONFLICT] lr_scheduler_type"),
    ({"gradient_checkpointing": True, "disable_gradient_checkpointing": True}, "error[CFG-CONFLICT] gradient_checkp"),
    ({"flash_attn": "fa3"}, "error[CFG-PACKAGE] flash_attn"),
    ({"output_dir": "a/" + "x" * 300}, "error[CFG-VALUE] output_dir"),
    ({"max_samples": 0}, "error[CFG-VALUE] max_samples"),
    ({"max_samples": -1}, "error[CFG-VALUE] max_samples"),
    ({"save_strategy": "best"}, "error[CFG-MISSING] save_strategy"),
    ({"report_to": "weights_and_biases"}, "error[CFG-VALUE] report_to"),
]


@pytest.mark.parametrize(("change", "said"), BREACHES, ids=[said.partition("] ")[2][:40] for _, said in BREACHES])
def test_a_broken_rule_is_one_fault(change, said):
    with pytest.raises(RecipeError) as caught:
        settle(TRAIN | change, verb="train")
    assert [str(fault)[: len(said)] for fault in caught.value.faults] == [said]


@pytest.mark.parametrize(
    "change",
    [
        {"eval_strategy": "epoch", "save_strategy": "steps"},
        {"eval_strategy": "steps", "eval_steps": 50, "save_steps": 75},
        {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 75},
    ],
)
def test_the_best_checkpoint_must_have_been_evaluated(change):
    with pytest.raises(RecipeError, match="load_best_model_at_end"):
        settle(EVAL | {"load_best_model_at_end": True} | change, verb="train")


@pytest.mark.parametrize(
    "change",
    [
        {"eval_strategy": "epoch", "save_strategy": "epoch"},
        {"eval_strategy": "steps", "eval_steps": 50, "save_steps": 100},
        {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 0.3},
        {"eval_strategy": "steps", "save_strategy": "best", "metric_for_best_model": "loss"},
    ],
)
def test_evaluations_that_meet_the_checkpoints_are_accepted(change):
    assert settle(EVAL | {"load_best_model_at_end": True} | change, verb="train").training.load_best_model_at_end


def test_a_key_not_honoured_yet_is_refused_unless_it_has_its_default():
    for key in all_keys().values():
        if key.about.later and key.kinds == ("bool",) and key.section in used_sections("train"):
            assert settle(TRAIN | {key.name: key.default}, verb="train")
            with pytest.raises(RecipeError) as caught:
                settle(TRAIN | {key.name: not key.default}, verb="train")
            assert any(f"error[CFG-LATER] {key.name}: cannot be set" in str(each) for each in caught.value.faults)


@pytest.mark.parametrize(
    ("key", "value", "reason"), [("infer_backend", "sglang", "CUDA cards alone.*infer_backend: vllm")]
)
def test_a_value_not_built_yet_is_refused_with_the_reason(key, value, reason):
    with pytest.raises(RecipeError, match=rf"error\[CFG-LATER\] {key}: cannot be {value}: .*{reason}"):
        settle(TRAIN | {key: value}, verb="train")


def test_a_key_that_is_wrong_by_itself_breaks_no_rule_besides():
    with pytest.raises(RecipeError) as caught:
        settle(EVAL | {"eval_strategy": "step", "load_best_model_at_end": True}, verb="train")
    assert [fault.what for fault in caught.value.faults] == ["eval_strategy"]


def test_asking_a_model_needs_no_data():
    assert settle({"model_name_or_path": "m", "stage": "sft"}, verb="chat").model.model_name_or_path == "m"
