"""Rules about stages that learn from rewards."""

from __future__ import annotations

from collections.abc import Iterator

from hone.recipe.rules.rule import Broken, missing
from hone.recipe.schema import Recipe


def reward_rules(recipe: Recipe) -> Iterator[Broken]:
    """For the verb `train`."""
    tuning = recipe.finetuning
    if tuning.stage not in ("grpo", "ppo"):
        if tuning.reward_funcs:
            yield Broken(("reward_funcs",), "belongs to stages grpo and ppo", weighed=("stage",))
        if tuning.reward_model:
            yield Broken(("reward_model",), "belongs to stages grpo and ppo", weighed=("stage",))
        return
    if not tuning.reward_funcs and not tuning.reward_model:
        if tuning.stage == "ppo":
            yield missing("reward_model", "PPO needs one, or reward_funcs", "stage")
        else:
            yield missing("reward_funcs", "GRPO needs at least one reward, or a reward_model", "stage")
    if tuning.reward_model and tuning.reward_model_type == "lora" and tuning.finetuning_type != "lora":
        yield Broken(("reward_model_type", "finetuning_type"), "a reward adapter shares the base of a lora policy")
    rewards = len(tuning.reward_funcs) + bool(tuning.reward_model)
    if tuning.reward_weights and len(tuning.reward_weights) != rewards:
        yield Broken(("reward_weights", "reward_funcs"), "give a weight for each reward, or none at all")
    if recipe.generating.repetition_penalty != 1.0:
        yield Broken(("repetition_penalty",), "changes what is drawn, so that it is not what is learned", "CFG-VALUE")
    if not recipe.generating.do_sample or recipe.generating.temperature == 0:
        yield Broken(("do_sample", "temperature"), "equal answers teach nothing; draw them")
    if recipe.data.packing or recipe.data.neat_packing:
        yield Broken(("packing", "stage"), "questions are answered, not packed; leave packing out")
    if recipe.data.streaming:
        yield Broken(("streaming", "stage"), "questions are not streamed yet; leave streaming out")
