"""Rules about what learns and how."""

from __future__ import annotations

from collections.abc import Iterator

from hone.recipe.rules.preference import preference_rules
from hone.recipe.rules.rewards import reward_rules
from hone.recipe.rules.rule import Broken
from hone.recipe.schema import Recipe

_LORA_ONLY = ("loraplus_lr_ratio", "use_rslora", "use_dora", "pissa_init")
_OPTIMIZERS = ("use_galore", "use_apollo", "use_badam", "use_adam_mini", "use_muon", "loraplus_lr_ratio")
_BITS = (None, 4, 8)


def finetuning_rules(recipe: Recipe) -> Iterator[Broken]:
    """For the verb `train`."""
    tuning = recipe.finetuning
    if tuning.finetuning_type != "lora":
        for name in _LORA_ONLY:
            if getattr(tuning, name):
                yield Broken((name,), "goes with finetuning_type: lora", weighed=("finetuning_type",))
    if tuning.create_new_adapter and not recipe.model.adapter_name_or_path:
        yield Broken(("create_new_adapter",), "merges given adapters first; give adapter_name_or_path, or leave it out")
    if tuning.freeze_trainable_layers == 0 and tuning.finetuning_type == "freeze":
        yield Broken(
            ("freeze_trainable_layers",), "0 trains no layer; give the number of last (or, negative, first) ones"
        )
    yield from _optimizers(recipe)
    yield from _ppo(recipe)
    yield from preference_rules(recipe)
    yield from reward_rules(recipe)
    yield from _quantized(recipe)


def _optimizers(recipe: Recipe) -> Iterator[Broken]:
    tuning = recipe.finetuning
    chosen = tuple(name for name in _OPTIMIZERS if getattr(tuning, name))
    if len(chosen) > 1:
        yield Broken(chosen, "keep one")
    whole = tuple(name for name in chosen if name in ("use_galore", "use_apollo", "use_badam"))
    if whole and tuning.finetuning_type in ("lora", "oft"):
        yield Broken((*whole, "finetuning_type"), "these optimizers train whole weights, not adapters")
    if chosen and recipe.training.arguments.get("deepspeed"):
        yield Broken((*chosen, "deepspeed"), "DeepSpeed brings its own optimizer")
    if tuning.use_llama_pro and tuning.finetuning_type in ("full", "oft"):
        yield Broken(("use_llama_pro", "finetuning_type"), "goes with lora or freeze: only the new blocks are to learn")
    if tuning.pissa_init and recipe.training.arguments.get("weight_decay"):
        yield Broken(("pissa_init", "weight_decay"), "the half of the adapter that stands still would decay")


def _ppo(recipe: Recipe) -> Iterator[Broken]:
    tuning = recipe.finetuning
    if tuning.stage == "ppo" and recipe.training.load_best_model_at_end:
        yield Broken(("load_best_model_at_end", "stage"), "no evaluation says which checkpoint is the best")
    if tuning.stage == "ppo" and not recipe.training.do_train:
        yield Broken(("do_train", "stage"), "PPO only trains; predict with stage: sft")
    if tuning.reward_model_quantization_bit not in _BITS:
        yield Broken(("reward_model_quantization_bit",), "must be 4 or 8", "CFG-VALUE")


def _quantized(recipe: Recipe) -> Iterator[Broken]:
    if recipe.quantization.quantization_bit is None:
        return
    model, tuning = recipe.model, recipe.finetuning
    if tuning.finetuning_type not in ("lora", "oft"):
        yield Broken(("quantization_bit", "finetuning_type"), "quantised weights cannot learn; use lora or oft")
    changes = {
        "pissa_init": tuning.pissa_init,
        "resize_vocab": model.resize_vocab,
        "add_tokens": model.add_tokens,
        "add_special_tokens": model.add_special_tokens,
        "new_special_tokens_config": model.new_special_tokens_config,
    }
    for name, on in changes.items():
        if on:
            yield Broken((name, "quantization_bit"), "changes weights that are quantised")
    if len(model.adapter_name_or_path) > 1:
        yield Broken(("adapter_name_or_path", "quantization_bit"), "only one adapter fits a quantised model")
    if model.adapter_name_or_path and tuning.create_new_adapter:
        yield Broken(("create_new_adapter", "quantization_bit"), "adapters cannot be merged into quantised weights")
    if recipe.training.fp8:
        yield Broken(("fp8", "quantization_bit"), "keep one")
