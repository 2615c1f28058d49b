"""Gradient checkpointing: trade time for memory by computing activations again in the backward pass."""

from __future__ import annotations

from typing import Any

from hone.errors import MachineError


def enable_gradient_checkpointing(model: Any, *, use_reentrant: bool = True, offload: bool = False) -> None:
    """Turn it on for all blocks, also under PEFT. The re-entrant form needs inputs that carry gradients even when the
    embeddings are frozen, so these are marked; the cache of keys and values is of no use then and is turned off.
    `offload` keeps what is left to be kept in main memory. Raises MachineError where the library cannot do that.
    """
    if offload:
        _offload(model, use_reentrant)
    elif hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": use_reentrant})
    else:  # transformers before it was renamed
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    if use_reentrant:
        model.enable_input_require_grads()
    model.config.use_cache = False


def _offload(model: Any, use_reentrant: bool) -> None:
    import inspect

    enable = getattr(model, "activation_checkpointing_enable", None)
    if enable is None or "offload" not in inspect.signature(enable).parameters:
        raise MachineError.one(
            "OFFLOAD", "this transformers cannot keep activations in main memory", "use_unsloth_gc",
            "pip install --upgrade transformers",
        )  # fmt: skip
    enable(activation_checkpointing_kwargs={"use_reentrant": use_reentrant}, offload=True)
