"""Rules about the training loop, those of `TrainingArguments` among them, found before it is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from hone.recipe.rules.rule import Broken, missing
from hone.recipe.schema import Recipe, TrainingSection

TRACKERS: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "swanlab": ("swanlab",), "mlflow": ("mlflow",),
    "trackio": ("trackio",), "comet_ml": ("comet_ml",), "clearml": ("clearml",), "neptune": ("neptune",),
    "dvclive": ("dvclive",), "codecarbon": ("codecarbon",), "azure_ml": ("azureml",), "dagshub": ("dagshub",),
    "flyte": ("flytekit",), "kubeflow": ("kubeflow",),
}  # fmt: skip
"""What `report_to` may name, and the modules of which each needs one."""


def training_rules(recipe: Recipe) -> Iterator[Broken]:
    """For the verb `train`."""
    training = recipe.training
    if not (training.do_train or training.do_eval or training.do_predict):
        yield missing("do_train", "nothing to do; say do_train, do_eval or do_predict: true", "eval_strategy")
    if not training.output_dir.strip():
        yield Broken(("output_dir",), "must name a folder", "CFG-VALUE")
    if any(len(part.encode()) > 255 for part in training.output_dir.split("/")):
        yield Broken(("output_dir",), "a folder's name may hold at most 255 bytes", "CFG-VALUE")
    yield from _precision(recipe)
    yield from _whole_steps(training)
    yield from _best(recipe)
    yield from _details(training)
    yield from _trackers(training)


def _precision(recipe: Recipe) -> Iterator[Broken]:
    training, pure = recipe.training, recipe.finetuning.pure_bf16
    if training.bf16 and training.fp16:
        yield Broken(("bf16", "fp16"), "keep one")
    if pure and training.fp16:
        yield Broken(("pure_bf16", "fp16"), "keep one")
    if training.arguments.get("bf16_full_eval") and training.arguments.get("fp16_full_eval"):
        yield Broken(("bf16_full_eval", "fp16_full_eval"), "keep one")


def _whole_steps(training: TrainingSection) -> Iterator[Broken]:
    steps: dict[str, Any] = {name: getattr(training, name) for name in ("logging_steps", "eval_steps", "save_steps")}
    for name, value in {**steps, "warmup_steps": training.arguments.get("warmup_steps")}.items():
        if value and value > 1 and value != int(value):
            yield Broken((name,), f"must be a share below 1 or a whole number, not {value:g}", "CFG-VALUE")


def _best(recipe: Recipe) -> Iterator[Broken]:
    """Keeping the best checkpoint needs evaluations at the steps that are saved."""
    training = recipe.training
    if recipe.finetuning.early_stopping_steps and not training.load_best_model_at_end:
        yield Broken(("early_stopping_steps",), "goes with load_best_model_at_end: true")
    if training.save_strategy == "best" and training.metric_for_best_model is None:
        yield Broken(("save_strategy",), "best needs metric_for_best_model", "CFG-MISSING", ("metric_for_best_model",))
    if not training.load_best_model_at_end or training.save_strategy == "best":
        return
    if training.eval_strategy != training.save_strategy:
        found = f"eval_strategy is {training.eval_strategy}, save_strategy is {training.save_strategy}; make them equal"
        yield Broken(("load_best_model_at_end",), found, weighed=("eval_strategy", "save_strategy"))
    elif training.eval_strategy == "steps" and not _divides(training.eval_steps or 0, training.save_steps):
        found = f"save_steps ({training.save_steps:g}) must be a multiple of eval_steps ({training.eval_steps:g})"
        yield Broken(("load_best_model_at_end",), found, weighed=("eval_steps", "save_steps"))


def _divides(small: float, large: float) -> bool:
    """Whether `large` is a multiple of `small`, both steps or both shares."""
    return small > 0 and (small < 1) == (large < 1) and abs(large / small - round(large / small)) < 1e-6


def _details(training: TrainingSection) -> Iterator[Broken]:
    given = training.arguments
    workers = given.get("dataloader_num_workers", 0)
    if workers == 0 and given.get("dataloader_prefetch_factor") is not None:
        yield Broken(("dataloader_prefetch_factor",), "needs dataloader_num_workers above 0")
    if workers == 0 and given.get("dataloader_persistent_workers"):
        yield Broken(("dataloader_persistent_workers",), "needs dataloader_num_workers above 0")
    if given.get("lr_scheduler_type") in ("reduce_lr_on_plateau", "greedy") and training.eval_strategy == "no":
        yield Broken(("lr_scheduler_type",), "follows evaluations; give eval_strategy", weighed=("eval_strategy",))


def _trackers(training: TrainingSection) -> Iterator[Broken]:
    """A tracker that is missing is said before a model is loaded."""
    named = [name for name in training.report_to if name not in ("none", "all")]
    unknown = [name for name in named if name not in TRACKERS]
    if unknown:
        known = ", ".join(("none", "all", *TRACKERS))
        yield Broken(("report_to",), f"no tracker is called {', '.join(unknown)}; choose from {known}", "CFG-VALUE")
    for name in named:
        modules = TRACKERS.get(name, ())
        if modules and not any(importlib.util.find_spec(module) for module in modules):
            fix = f"{name} is not installed; pip install {modules[0].replace('azureml', 'azureml-mlflow')}"
            yield Broken(("report_to",), f"{fix}, or leave it out", "CFG-PACKAGE")
