"""What must be the same when a run is taken up: the recipe but for some keys, the data, the model, the processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hone.errors import CheckpointError, Fault
from hone.log import warn
from hone.training.checkpoints import manifest

MAY_CHANGE = frozenset((
    "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "resume_override", "do_train", "do_eval",
    "do_predict", "max_steps", "num_train_epochs", "early_stopping_steps", "model_name_or_path", "model_revision",
    "cache_dir", "hf_hub_token", "ms_hub_token", "om_hub_token", "hub_token", "low_cpu_mem_usage",
    "print_param_status", "trust_remote_code", "offload_folder", "dataset_dir", "eval_dataset",
    "eval_on_each_dataset", "overwrite_cache", "preprocessing_num_workers", "tokenized_path", "media_dir",
    "data_shared_file_system", "per_device_eval_batch_size", "dataloader_num_workers", "dataloader_prefetch_factor",
    "dataloader_pin_memory", "dataloader_persistent_workers", "gradient_checkpointing",
    "disable_gradient_checkpointing", "use_reentrant_gc", "use_unsloth_gc", "gradient_checkpointing_kwargs",
    "plot_loss", "report_to", "run_name", "project", "disable_tqdm", "log_level", "log_level_replica", "ddp_timeout",
    "ddp_backend", "include_effective_tokens_per_second", "record_vram", "include_num_input_tokens_seen",
    "include_tokens_per_second", "compute_accuracy", "load_best_model_at_end", "metric_for_best_model",
    "greater_is_better", "predict_with_generate", "debug",
))  # fmt: skip
"""Keys that do not decide what is learned at a step. Paths are free: what lies there is compared by its content."""
FREE_PREFIXES = ("logging_", "save_", "eval_", "push_to_hub", "hub_", "trackio_", "swanlab_", "profiler_", "wandb_")


def comparable(recipe: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The facts of a run that its checkpoints carry. `recipe` is flat; keys that may change are left out."""
    kept = {key: value for key, value in recipe.items() if not _is_free(key)}
    return {"recipe": kept, **{key: value for key, value in more.items() if value is not None}}


def refuse_changes(checkpoint: Path, facts: Mapping[str, Any], *, override: bool = False) -> None:
    """Compare a checkpoint's facts with those of this run; one fault for each difference, old and new beside it.

    A checkpoint without a manifest has no facts, and nothing is compared. Raises CheckpointError; with `override`
    the differences are only said.
    """
    try:
        old = manifest.read(checkpoint)
    except (OSError, ValueError):
        warn(f"{checkpoint} has no manifest (not made by Hone): it is believed to fit this recipe and these data")
        return
    found = list(differences(old, facts))
    if override:
        for fault in found:
            warn(f"resume_override: {fault.what}")
        return
    CheckpointError.all_of(found)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Fault]:
    """A fault for each key of the recipe, and each other fact, that is not as it was."""
    fix = "put it back, choose another output_dir, or set resume_override: true to go on all the same"
    before, after = old.get("recipe", {}), new.get("recipe", {})
    changed = [
        Fault("CKPT-RECIPE", f"{key} was {_shown(before, key)} and is {_shown(after, key)}", key, fix)
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    words = {"data": "the training data have changed", "model": "the base model has changed",
             "encoding": "template or tokenizer have changed",
             "processes": "the number of processes has changed"}  # fmt: skip
    for key, what in words.items():
        if key in old and key in new and old[key] != new[key]:
            changed.append(Fault("CKPT-CHANGED", f"{what} (was {old[key]}, is {new[key]})", key, fix))
    return changed


def _is_free(key: str) -> bool:
    return key in MAY_CHANGE or key.startswith(FREE_PREFIXES)


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "not given"
