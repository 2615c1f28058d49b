"""The keys of the training loop: those of `TrainingArguments` that Hone itself reads, and Hone's additions to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from hone.recipe.schema.key import key

_RAY = "Ray is not built yet"
_PROFILER = "the profiler is not built yet"
_FP8 = "FP8 is not built yet"


@dataclass(frozen=True)
class TrainingSection:
    """Steps, learning rate, evaluation, checkpoints.

    `arguments` holds every key of `TrainingArguments` that the recipe gives, under its current name and in its right
    type, ready for `Seq2SeqTrainingArguments(**arguments)`; the typed fields repeat those that Hone reads itself.
    """

    output_dir: str = key("trainer_output", "The run directory: everything a run leaves is found here.")
    overwrite_output_dir: bool = key(
        False, "Start anew in an output_dir that is not empty, instead of resuming or refusing."
    )
    do_train: bool = key(False, "Train.")
    do_eval: bool = key(False, "Evaluate when training is done.")
    do_predict: bool = key(False, "Answer the evaluation data and score the answers.")
    predict_with_generate: bool = key(False, "Evaluations while training answer as well, and score the answers.")
    predict_metrics: tuple[str, ...] = key(
        ("exact_match",),
        "Scores beside BLEU-4 and ROUGE: exact_match, json_valid, tool_calls, bleu, chrf, or file.py:function.",
    )
    predict_beside: str | None = key(
        None, "Folder of an earlier prediction of the same data (of the base model, say), shown beside this one."
    )
    resume_from_checkpoint: str | None = key(
        None, "Checkpoint to go on from. Left out: the last one in output_dir, if there is one."
    )
    resume_override: bool = key(
        False, "Go on from a checkpoint although the recipe, the data or the processes have changed."
    )
    seed: int = key(42, "Start of every random choice.", at_least=0, below=2**32)
    bf16: bool = key(False, "Compute in bf16, keep the learning weights in fp32.")
    fp16: bool = key(False, "Compute in fp16 with loss scaling, keep the learning weights in fp32.")
    use_cpu: bool = key(False, "Use the CPU even if there is a GPU.")
    per_device_train_batch_size: int = key(8, "Examples in one pass, on each device.", at_least=1)
    per_device_eval_batch_size: int = key(8, "The same when evaluating.", at_least=1)
    gradient_accumulation_steps: int = key(1, "Passes summed up before the weights change.", at_least=1)
    learning_rate: float = key(5e-5, "Highest step width of the optimizer.", at_least=0)
    num_train_epochs: float = key(3.0, "Times the data is gone through.", above=0)
    max_steps: int = key(-1, "Changes of the weights, whatever the epochs; -1 goes by epochs.", at_least=-1)
    max_grad_norm: float = key(1.0, "Longer gradients are cut to this length; 0 leaves them.", at_least=0)
    logging_steps: float = key(500, "Steps between two lines of the log; below 1, a share of all steps.", above=0)
    save_strategy: Literal["no", "steps", "epoch", "best"] = key("steps", "When checkpoints are written.")
    save_steps: float = key(500, "Steps between checkpoints; below 1, a share of all steps.", above=0)
    save_total_limit: int | None = key(None, "How many checkpoints are kept.", at_least=1)
    save_only_model: bool = key(False, "Checkpoints without the optimizer: smaller, but they cannot be resumed.")
    eval_strategy: Literal["no", "steps", "epoch"] = key("no", "When the evaluation data is measured during training.")
    eval_steps: float | None = key(None, "Steps between evaluations. Left out: logging_steps.", above=0)
    load_best_model_at_end: bool = key(False, "End with the best checkpoint instead of the last.")
    metric_for_best_model: str | None = key(None, "What best means. Left out: the evaluation loss.")
    report_to: tuple[str, ...] = key(("none",), "Trackers that receive the log: none, tensorboard, wandb, …")
    run_name: str | None = key(None, "Name of the run in trackers.")
    record_vram: bool = key(
        False, "Write the memory in use into each line of trainer_log.jsonl; RECORD_VRAM=1 asks for it too."
    )
    hub_token: str | None = key(
        None, "Access token for pushing to the hub.", secret=True, later="pushing to the hub is not built yet"
    )

    ray_num_workers: int = key(1, "Ray: workers.", at_least=1, later=_RAY)
    ray_init_kwargs: Mapping[str, Any] | None = key(None, "Ray: settings of ray.init.", later=_RAY)
    master_addr: str | None = key(None, "Ray: address of the first process.", later=_RAY)
    master_port: str | None = key(None, "Ray: its port.", later=_RAY)
    enable_torch_profiler: bool = key(False, "Record traces of the computation.", later=_PROFILER)
    profiler_output_dir: str | None = key(None, "Where traces go. Left out: output_dir/profiler.", later=_PROFILER)
    profiler_wait_steps: int = key(1, "Steps left out at the start of a cycle.", at_least=0, later=_PROFILER)
    profiler_warmup_steps: int = key(1, "Steps that warm the profiler up.", at_least=0, later=_PROFILER)
    profiler_active_steps: int = key(1, "Steps recorded.", at_least=1, later=_PROFILER)
    profiler_repeat: int = key(1, "Cycles; 0 never ends.", at_least=0, later=_PROFILER)
    profiler_record_shapes: bool = key(True, "Record shapes.", later=_PROFILER)
    profiler_profile_memory: bool = key(True, "Record memory.", later=_PROFILER)
    profiler_with_stack: bool = key(True, "Record call stacks.", later=_PROFILER)
    profile_modules: tuple[str, ...] = key((), "Patterns of modules that are timed.", later=_PROFILER)
    fp8: bool = key(False, "Compute in FP8.", later=_FP8)
    fp8_backend: str = key("auto", "Who computes in FP8.", later=_FP8)
    fp8_enable_fsdp_float8_all_gather: bool = key(False, "Gather FSDP weights in FP8.", later=_FP8)

    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
