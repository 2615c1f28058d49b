"""LoRA: low-rank adapters on chosen layers, new or continued, on top of earlier adapters that are merged in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.log import say
from hone.models.expansion import expanded_blocks
from hone.models.experts import split_targets
from hone.models.pissa import PrincipalStart
from hone.models.quantization import is_quantized
from hone.models.targets import targets
from hone.models.tuners._adapters import layered, stays_tied, whole_modules, within, wrapped

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection, ModelSection


def prepare(
    model: Any, finetuning: FinetuningSection, model_section: ModelSection, *, training: bool, merge: bool
) -> Any:
    """The model with its adapters, as `layered` says. Raises ModelError for adapters or targets that do not fit it."""
    return layered(
        model, finetuning, model_section, training=training, merge=merge,
        new=lambda base: new_adapter(base, finetuning, model_section),
    )  # fmt: skip


def new_adapter(model: Any, finetuning: FinetuningSection, section: ModelSection) -> Any:
    """A fresh adapter by the recipe's wishes: the first factor random, the second zero, or from the weights (PiSSA)."""
    from peft import LoraConfig, TaskType

    _check_dora(model, finetuning)
    modules, parameters = split_targets(model, finetuning.lora_target)
    modules = targets(model, modules, finetuning, "lora_target") if modules or not parameters else []
    if finetuning.use_llama_pro:
        modules = within(modules, expanded_blocks(model, finetuning.freeze_trainable_layers), model)
    saved = whole_modules(model, finetuning, section)
    rank = finetuning.lora_rank
    start = PrincipalStart(rank, finetuning.pissa_iter) if finetuning.pissa_init else None
    alpha = 2 * rank if finetuning.lora_alpha is None else finetuning.lora_alpha
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=finetuning.lora_dropout,
        target_modules=modules,
        target_parameters=parameters or None,
        modules_to_save=saved or None,
        use_rslora=finetuning.use_rslora,
        use_dora=finetuning.use_dora,
        ensure_weight_tying=stays_tied(model, saved),
    )
    if start is None:
        return wrapped(model, config)
    if finetuning.pissa_convert:
        say("pissa_convert: the adapter is an ordinary one from the start, nothing is left to convert")
    return start.fill(wrapped(model, start.widened(config)))


def _check_dora(model: Any, finetuning: FinetuningSection) -> None:
    if not finetuning.use_dora or not is_quantized(model):
        return
    kind = str(getattr(model.config.quantization_config, "quant_method", ""))
    if "bitsandbytes" not in kind.lower().replace("bits_and_bytes", "bitsandbytes"):
        raise ModelError.one(
            "TUNER-DORA", f"DoRA needs the norms of the weights, which {kind} does not give", "use_dora",
            "use bitsandbytes, or leave use_dora out",
        )  # fmt: skip
