"""Rules about losses: which go together, and what the policy is compared with."""

from __future__ import annotations

from collections.abc import Iterator

from hone.recipe.rules.rule import Broken, missing
from hone.recipe.schema import Recipe

_BITS = (None, 4, 8)
_ALONE = ("orpo", "simpo")
"""Preference losses without a reference."""
_WEIGHED = ("use_dft_loss", "use_asft_loss", "use_eaft_loss")


def preference_rules(recipe: Recipe) -> Iterator[Broken]:
    """For the verb `train`."""
    yield from _weighed(recipe)
    yield from _preference_loss(recipe)
    yield from _reference(recipe)


def compares(recipe: Recipe) -> bool:
    """Whether the loss needs a reference."""
    tuning = recipe.finetuning
    if tuning.stage == "dpo":
        return tuning.pref_loss not in _ALONE
    if tuning.stage == "grpo":
        return tuning.beta > 0
    return tuning.stage in ("kto", "ppo") or (tuning.stage == "sft" and tuning.use_asft_loss)


def _weighed(recipe: Recipe) -> Iterator[Broken]:
    tuning = recipe.finetuning
    chosen = tuple(name for name in _WEIGHED if getattr(tuning, name))
    if len(chosen) > 1:
        yield Broken(chosen, "a token's loss is weighed in one way; keep one")
    for name in chosen:
        if tuning.stage != "sft":
            yield Broken((name,), "belongs to stage sft", weighed=("stage",))


def _preference_loss(recipe: Recipe) -> Iterator[Broken]:
    tuning = recipe.finetuning
    if tuning.dpo_label_smoothing > 0 and tuning.pref_loss != "sigmoid":
        yield Broken(("dpo_label_smoothing", "pref_loss"), "smoothing goes with the sigmoid loss")
    if tuning.stage != "dpo":
        return
    if tuning.dpo_label_smoothing >= 0.5:
        yield Broken(("dpo_label_smoothing",), "at 0.5 neither answer is the better one; take less", "CFG-VALUE")
    if tuning.pref_bco_weight and tuning.pref_loss in _ALONE:
        yield Broken(("pref_bco_weight", "pref_loss"), "BCO compares with a reference, and this loss has none")
    if tuning.pref_loss == "ipo" and tuning.pref_beta == 0:
        yield Broken(("pref_beta",), "IPO aims at a margin of 1 / (2 pref_beta); give more than 0", "CFG-VALUE",
                     ("pref_loss",))  # fmt: skip


def _reference(recipe: Recipe) -> Iterator[Broken]:
    tuning, training = recipe.finetuning, recipe.training
    if tuning.ref_model_quantization_bit not in _BITS:
        yield Broken(("ref_model_quantization_bit",), "must be 4 or 8", "CFG-VALUE")
    if tuning.stage in ("dpo", "kto", "sft", "grpo", "ppo") and tuning.ref_model and not compares(recipe):
        yield Broken(
            ("ref_model",), "the loss has no reference", weighed=("stage", "pref_loss", "use_asft_loss", "beta")
        )
    for name in ("ref_model_adapters", "ref_model_quantization_bit"):
        if getattr(tuning, name) and not tuning.ref_model:
            yield Broken((name,), "says how ref_model is loaded; give that too", weighed=("ref_model",))
    if not compares(recipe) or tuning.ref_model:
        return
    if tuning.pissa_init:
        yield Broken(("pissa_init",), "takes parts out of the weights, so that these are no reference with the adapter "
                     "off; give ref_model", weighed=("stage", "pref_loss"))  # fmt: skip
    if not training.do_train and not recipe.model.adapter_name_or_path:
        yield missing("ref_model", "without it the model would be compared with itself", "stage", "do_train")
