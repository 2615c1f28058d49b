"""The model of a training run: loaded, tuner attached, attention packed, made fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hone.log import say
from hone.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from hone.data.examples import ExampleSet
    from hone.data.stream import Stream
    from hone.models.dtype import DtypePlan


def plan_dtypes(recipe: Recipe, device: torch.device) -> DtypePlan:
    """In which number formats the run computes, learns and keeps its weights."""
    from hone.models.dtype import settle_dtype, stored_dtype
    from hone.models.source import find_source

    plan = settle_dtype(
        device,
        bf16=recipe.training.bf16,
        fp16=recipe.training.fp16,
        pure_bf16=recipe.finetuning.pure_bf16,
        all_weights_train=recipe.finetuning.finetuning_type == "full",
        stored=stored_dtype(find_source(recipe.model).path),
    )
    for note in plan.notes:
        say(note)
    return plan


def build_model(
    recipe: Recipe,
    plan: DtypePlan,
    device: torch.device,
    train: ExampleSet | Stream | None,
    stage: Any,
    tokenizer: Any = None,
    encoder: Any = None,
) -> Any:
    """The model as the trainer gets it, and `stage` equipped with what its loss needs beside the model; `train` tells
    how long its micro-batches will be."""
    from hone.models import native
    from hone.models.attention import use_packed_attention
    from hone.models.checkpointing import enable_gradient_checkpointing
    from hone.models.liger import apply_liger
    from hone.models.load import load_model
    from hone.models.noise import add_noise
    from hone.models.speed.quicken import quicken
    from hone.models.tuners import attach
    from hone.models.vocabulary import grow_model
    from hone.stages.shared.reference import Materials
    from hone.training.memory import give_back_at_once, must_recompute

    if train is not None and device.type == "cpu":
        native.begin()  # the compiler is at work while the weights are read
    model = load_model(
        recipe.model, recipe.quantization, dtype=plan.weights, device=device,
        reach=recipe.data.cutoff_len, training=recipe.training.do_train,
    )  # fmt: skip
    if recipe.model.enable_liger_kernel:
        apply_liger(model, device)
    if tokenizer is not None:
        grow_model(model, tokenizer, recipe.model)
    # An adapter that was merged could not be switched off, which is how a policy and its reference are told apart.
    apart = stage.compares and not recipe.finetuning.ref_model
    model = attach(model, recipe.finetuning, recipe.model, training=recipe.training.do_train, merge=not apart)
    add_noise(model, recipe.training.arguments.get("neftune_noise_alpha"))
    say(f"attention: {use_packed_attention(model)}")
    materials = Materials(
        recipe.model, recipe.quantization, recipe.finetuning, plan.weights, device, recipe.generating, encoder
    )
    stage.equip(model, materials)
    if train is None:
        return model
    asked = recomputing_wish(recipe)
    quick = quicken(model, memory={None: None, True: 0, False: 1 << 62}[asked])
    say(f"{quick.blocks} of {quick.of} blocks run by hand" + "".join(f"; {reason}" for reason in quick.reasons))
    tokens, _ = largest_batch(recipe, stage, train)
    if quick.blocks < quick.of and must_recompute(model, tokens=tokens, device=device, asked=asked):
        say("activations are computed again in the backward pass (gradient checkpointing)")
        reentrant = recipe.model.use_reentrant_gc and "use_reentrant_gc" in recipe.given
        offload = recipe.model.use_unsloth_gc and device.type != "cpu"
        enable_gradient_checkpointing(model, use_reentrant=reentrant, offload=offload)
        if device.type == "cpu":
            give_back_at_once()
    return model


def recomputing_wish(recipe: Recipe) -> bool | None:
    """What the recipe says of gradient checkpointing; None when it says nothing."""
    for name in ("gradient_checkpointing", "activation_checkpointing"):
        if recipe.training.arguments.get(name):
            return True
    if recipe.model.use_unsloth_gc:
        return True
    if recipe.model.disable_gradient_checkpointing:
        return False
    return True if "disable_gradient_checkpointing" in recipe.given else None


def largest_batch(recipe: Recipe, stage: Any, examples: ExampleSet | Stream) -> tuple[int, int]:
    """The tokens of the largest micro-batch that can come up, and how many of them are learned; of a stage that writes
    its answers itself these have their full length."""
    size = recipe.training.per_device_train_batch_size
    if getattr(examples, "longest", None) is not None:
        tokens = longest_batch(examples, size)
        return tokens, tokens
    held = cast("ExampleSet", examples)
    if not hasattr(stage, "gather"):
        longest = held.lengths.argsort()[-size:]
        return longest_batch(held, size), int(held.learned[longest].sum())
    questions = np.sort(held.lengths - held.learned)[-size:]
    room = recipe.generating.max_new_tokens
    if room <= 0:
        room = max(recipe.generating.max_length - int(questions[0]), 1)
    answers = len(questions) * stage.size
    return int(questions.sum()) * stage.size + answers * room, answers * room


def longest_batch(examples: ExampleSet | Stream, size: int) -> int:
    """The tokens of the largest micro-batch that can come up; of a stream only the limit is known."""
    longest = getattr(examples, "longest", None)
    if longest is not None:
        return int(longest) * size
    lengths = cast("ExampleSet", examples).lengths
    if len(lengths) <= size:
        return int(lengths.sum())
    return int(np.partition(lengths, -size)[-size:].sum())
