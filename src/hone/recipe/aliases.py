"""Old spellings: what a key was called before, what became of it, and which of its values still mean something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hone.errors import Fault
from hone.recipe.entry import Entry

_TRUE = ("true", "1", "yes", "y", "on")
_FALSE = ("false", "0", "no", "n", "off")
_NOTHING = ("", "none", "null", "~")


@dataclass(frozen=True)
class Old:
    """One old key. With `new` it is renamed, its value changed by `values` (None: the entry is dropped).

    Without `new`, the values in `same` say what Hone does anyway and are dropped; others are refused with `reason`.
    """

    new: str = ""
    values: Mapping[str, str | None] = field(default_factory=dict)
    same: tuple[str, ...] = ()
    any_value: bool = False
    reason: str = ""


def _switch(new: str, to: str) -> Old:
    """A switch that became one value of another key."""
    return Old(new, dict.fromkeys(_TRUE, to) | dict.fromkeys((*_FALSE, *_NOTHING), None), reason="say true or false")


def _only_off(reason: str) -> Old:
    return Old(same=(*_FALSE, *_NOTHING), reason=reason)


def _moot(reason: str) -> Old:
    """A key that has no effect whatever its value."""
    return Old(any_value=True, reason=reason)


_TPU = _only_off("TPUs are not supported")

OLD: Mapping[str, Old] = {
    # transformers 4
    "evaluation_strategy": Old("eval_strategy"),
    "no_cuda": Old("use_cpu"),
    "per_gpu_train_batch_size": Old("per_device_train_batch_size"),
    "per_gpu_eval_batch_size": Old("per_device_eval_batch_size"),
    "warmup_ratio": Old("warmup_steps"),
    "group_by_length": _switch("train_sampling_strategy", "group_by_length"),
    "adafactor": _switch("optim", "adafactor"),
    "push_to_hub_token": Old("hub_token"),
    "push_to_hub_model_id": Old("hub_model_id"),
    "push_to_hub_organization": Old(same=_NOTHING, reason="write it into hub_model_id: organization/name"),
    "save_safetensors": Old(same=_TRUE, reason="pickled weights are unsafe to load, safetensors are written"),
    "include_tokens_per_second": _moot("tokens a second are always logged"),
    "fp16_backend": Old(same=("auto", *_NOTHING), reason="torch's own mixed precision is used"),
    "half_precision_backend": Old(same=("auto", *_NOTHING), reason="torch's own mixed precision is used"),
    "fp16_opt_level": Old(same=("o1", *_NOTHING), reason="Apex is not used"),
    "logging_dir": Old(same=_NOTHING, reason="logs lie in output_dir; for TensorBoard set TENSORBOARD_LOGGING_DIR"),
    "jit_mode_eval": _only_off("torch.jit is not used"),
    "use_ipex": _only_off("torch brings these kernels itself"),
    "xpu_backend": Old("ddp_backend"),
    "tpu_num_cores": _TPU,
    "tpu_metrics_debug": _TPU,
    "use_mps_device": Old(same=(*_TRUE, *_FALSE), reason="the device is found by itself"),
    "past_index": Old(same=("-1",), reason="models that hand on their past are not supported"),
    "mp_parameters": Old(same=_NOTHING, reason="SageMaker's model parallelism is not supported"),
    "sharded_ddp": _only_off("use fsdp"),
    "fsdp_min_num_params": _only_off("write it into fsdp_config"),
    "fsdp_transformer_layer_cls_to_wrap": Old(same=_NOTHING, reason="write it into fsdp_config"),
    "torchdynamo": Old(same=_NOTHING, reason="use torch_compile and torch_compile_backend"),
    "ray_scope": Old(same=("last", *_NOTHING), reason="searching hyper-parameters with Ray is not supported"),
    "include_inputs_for_metrics": _only_off("Hone's measures take what they need themselves"),
    "use_legacy_prediction_loop": _only_off("there is one loop"),
    "dispatch_batches": _only_off("each process reads its own batches"),
    "split_batches": _only_off("batch sizes are per device"),
    # earlier names of Hone's own keys in the ecosystem
    "checkpoint_dir": Old("adapter_name_or_path"),
    "num_layer_trainable": Old("freeze_trainable_layers"),
    "name_module_trainable": Old("freeze_trainable_modules"),
    "dpo_beta": Old("pref_beta"),
    "kto_beta": Old("pref_beta"),
    "dpo_ftx": Old("pref_ftx"),
    "kto_ftx": Old("pref_ftx"),
    "dpo_loss": Old("pref_loss"),
    "sft_packing": Old("packing"),
    "cache_path": Old("tokenized_path"),
    "image_resolution": Old(same=_NOTHING, reason="say image_max_pixels, an area: width times height"),
    "video_resolution": Old(same=_NOTHING, reason="say video_max_pixels, an area: width times height"),
    "visual_inputs": _moot("whether a model sees is known from its configuration"),
    "reserved_label_len": _moot("prompt and answer share cutoff_len by their lengths"),
    "max_source_length": Old(same=_NOTHING, reason="say cutoff_len, for prompt and answer together"),
    "max_target_length": Old(same=_NOTHING, reason="say cutoff_len, for prompt and answer together"),
}

OLD_VALUES: Mapping[str, Mapping[str, str]] = {
    "flash_attn": dict.fromkeys(_TRUE, "fa2") | dict.fromkeys(("off", "false", "no"), "disabled"),
    "optim": {"adamw_hf": "adamw_torch"},
    "infer_backend": {"hf": "huggingface", "llama.cpp": "llamacpp", "llama_cpp": "llamacpp"},
    "mixture_of_depths": dict.fromkeys(_FALSE, "null"),
}
"""Values that were renamed, by key."""


def renew(entry: Entry) -> Entry | Fault | None:
    """The entry under its current name and value; None if it says what Hone does anyway; a fault if it is refused."""
    old = OLD.get(entry.name)
    if old is None:
        return _renew_value(entry)
    word = _word(entry.value)
    if old.new:
        if not old.values:
            return _renew_value(Entry(old.new, entry.value, entry.where))
        if word not in old.values:
            return Fault("CFG-OLD", entry.name, entry.where, f"{old.reason}; its new name is {old.new}")
        new = old.values[word]
        return None if new is None else Entry(old.new, new, entry.where)
    if old.any_value or word in old.same:
        return None
    return Fault("CFG-OLD", entry.name, entry.where, f"no longer a setting: {old.reason}")


def _renew_value(entry: Entry) -> Entry:
    new = OLD_VALUES.get(entry.name, {}).get(_word(entry.value))
    return entry if new is None else Entry(entry.name, type(entry.value)(new) if isinstance(entry.value, str) else new)


def _word(value: Any) -> str:
    return "" if value is None else str(value).strip().lower()
