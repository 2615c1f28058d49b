"""Tuners: which weights of a model learn. The folder is the registry: a file a tuner, named as in `finetuning_type`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from hone.imports import absent
from hone.log import say
from hone.models.quantization import is_quantized
from hone.registry import find

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection, ModelSection


def attach(
    model: Any, finetuning: FinetuningSection, model_section: ModelSection, *, training: bool, merge: bool = True
) -> Any:
    """The model made ready: for training with the tuner's parameters learning, otherwise frozen and in eval mode.

    A tuner's file has `prepare(model, finetuning, model_section, *, training, merge)`. Parameters that learn are
    float32 unless pure_bf16. Without training, adapters are merged into the weights, or kept apart with `merge=False`.
    Raises ModelError for names that fit nothing in the model and for adapters that do not fit it.
    """
    tuner = find("hone.models.tuners", finetuning.finetuning_type)
    with nullcontext() if is_quantized(model) else _without_bitsandbytes():
        model = tuner.prepare(model, finetuning, model_section, training=training, merge=merge)
    if not training:
        return model.requires_grad_(False).eval()
    raise_precision(model, pure_bf16=finetuning.pure_bf16)
    if model_section.upcast_layernorm:
        raise_norms(model)
    if model_section.upcast_lmhead_output:
        raise_logits(model)
    if model_section.print_param_status:
        tell_parameters(model)
    learning, every = count_parameters(model)
    say(f"trainable parameters: {learning:,} of {every:,} ({learning / max(1, every):.4%})")
    return model.train()


@contextmanager
def _without_bitsandbytes() -> Iterator[None]:
    """PEFT imports it (seconds: it has torch's compiler brought in) for each layer that might be one of its own."""
    try:
        with absent("bitsandbytes"):
            yield
    finally:
        asked = sys.modules.get("peft.import_utils")  # not there where nothing is tuned
        for answer in ("is_bnb_available", "is_bnb_4bit_available"):
            getattr(getattr(asked, answer, None), "cache_clear", int)()


def raise_precision(model: Any, *, pure_bf16: bool = False) -> None:
    """Make every learning parameter float32 (bfloat16 with pure_bf16), so that small updates are not rounded away."""
    import torch

    wanted = torch.bfloat16 if pure_bf16 else torch.float32
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point() and parameter.dtype != wanted:
            parameter.data = parameter.data.to(wanted)


def raise_norms(model: Any) -> None:
    """Hold the weights of normalisation layers in float32."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "norm" in name.lower() and parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.float32)


def raise_logits(model: Any) -> None:
    """Let the head answer in float32."""
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_hook(lambda _module, _inputs, output: output.float())


def tell_parameters(model: Any) -> None:
    """A line for every parameter: name, shape, dtype, device, and whether it learns."""
    for name, parameter in model.named_parameters():
        learns = "learns" if parameter.requires_grad else "stays"
        say(f"{name}: {tuple(parameter.shape)} {parameter.dtype} {parameter.device} {learns}")


def count_parameters(model: Any) -> tuple[int, int]:
    """How many numbers learn, and how many there are; tied weights count once, packed ones as what they stand for."""
    sizes = [(_numbers(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)


def _numbers(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
