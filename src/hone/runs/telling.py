"""What a training tells besides its numbers: warnings and a first example before, curves and a model card after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.log import say, warn
from hone.recipe import Recipe
from hone.rundir import RunCard

if TYPE_CHECKING:
    from hone.data.prepare import Prepared
    from hone.training.trainer import StageTrainer

SAMPLE = 10_000
"""Examples of each set whose ends are looked at before a training."""


def tell_of(prepared: Prepared, encoder: Any, stage: Any) -> None:
    """What `hone data check` would warn about, as far as the counts tell it, and the first example."""
    from hone.data.health.findings import common
    from hone.data.health.stops import stop_share
    from hone.training.preview import preview

    parts = prepared.train.parts if prepared.train is not None else ()
    ended, answers = stop_share(parts, encoder, most=SAMPLE)
    for finding in common(prepared.report, ended=ended, answers=answers, asks=getattr(stage, "asks", False)):
        warn(str(finding))
    for examples, title in [(prepared.train, "training example:"), *((s, "eval example:") for s in _one(prepared))]:
        if examples is not None and len(examples):
            say(preview(examples[0], encoder.tokenizer, title, stage.parts))
    if prepared.stream is not None:
        say(preview(next(prepared.stream.once()), encoder.tokenizer, "training example:", stage.parts))


def _one(prepared: Prepared) -> list[Any]:
    """The first evaluation set, when it is all there is to show."""
    return [] if prepared.train is not None else list(prepared.evals.values())[:1]


def draw_curves(trainer: StageTrainer, folder: Path) -> None:
    """The curves of the loss, of the stage's own measures and of what evaluations measured, as pictures."""
    from hone.training.plot import draw_files

    history = trainer.state.log_history
    speeds = ("_runtime", "_per_second")
    seen = {name: None for event in history for name in event if name.startswith("eval_") and not name.endswith(speeds)}
    for file in draw_files(history, folder, ["loss", *trainer.stage.curves, *seen]):
        say(f"curve: {file}")


def write_card_of(recipe: Recipe, card: RunCard, folder: Path) -> None:
    """The model card: what was trained and how, and the numbers that the results file has."""
    if not recipe.training.do_train:
        return
    from hone.training.results import write_model_card

    results = folder / "all_results.json"
    metrics = json.loads(results.read_text("utf-8")) if results.is_file() else {}
    training, tuning = recipe.training, recipe.finetuning
    settings = {
        "learning rate": training.learning_rate,
        "examples a step and device": training.per_device_train_batch_size * training.gradient_accumulation_steps,
        "epochs": training.num_train_epochs if training.max_steps < 0 else None,
        "steps": training.max_steps if training.max_steps >= 0 else None,
        "longest example": recipe.data.cutoff_len,
        "rank and alpha": f"{tuning.lora_rank}, {tuning.lora_alpha}" if tuning.finetuning_type == "lora" else None,
        "template": card.template,
        "seed": training.seed,
    }
    write_model_card(
        folder,
        base_model=recipe.model.model_name_or_path or "",
        name=folder.resolve().name,
        stage=tuning.stage,
        tuner=tuning.finetuning_type,
        datasets=recipe.data.dataset,
        settings={name: value for name, value in settings.items() if value is not None},
        metrics={name: value for name, value in metrics.items() if name.endswith(("_loss", "accuracy", "perplexity"))},
    )
