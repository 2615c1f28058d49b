"""`hone train`: from a recipe to a run directory, in one straight line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import MachineError
from hone.log import say, warn
from hone.recipe import Recipe, as_yaml, read_recipe
from hone.rundir import RunCard, cache_root, held, write_card, write_text
from hone.runs.measuring import answering_of, names_of_measures, predict_afterwards, refuse_predicting_together
from hone.runs.telling import draw_curves, tell_of, write_card_of
from hone.training.checkpoints.start import Start, choose_start
from hone.training.processes import is_first_process, several, together
from hone.training.stop import Stop, Stopped, listening

if TYPE_CHECKING:
    from hone.data.prepare import Prepared
    from hone.training.trainer import StageTrainer


def run(words: Sequence[str]) -> int:
    """The verb: read the recipe from the command line and carry it out."""
    from hone.runs.stopped import tell

    recipe = read_recipe(words, verb="train")
    try:
        train(recipe)
    except Stopped as stopped:
        return tell(stopped, words, overwrites=recipe.training.overwrite_output_dir)
    return 0


def train(recipe: Recipe) -> dict[str, float]:
    """Carry out a settled recipe; returns all metrics. A wrong output_dir is said before anything is read."""
    training = recipe.training
    folder = Path(training.output_dir)
    start = choose_start(
        folder,
        overwrite=training.overwrite_output_dir,
        resume=training.resume_from_checkpoint,
        train=training.do_train,
    )
    with held(folder) if is_first_process() else nullcontext(), listening() as stop, together():
        refuse_predicting_together(recipe)
        if is_first_process():
            start.clear_the_way()
        learns = training.do_train or training.do_eval
        metrics = _carry_out(recipe, folder, start, stop) if learns else {}
        return metrics | (predict_afterwards(recipe) if training.do_predict else {})


@dataclass(frozen=True)
class Prelude:
    """What is known before the model is loaded."""

    tokenizer: Any
    stage: Any
    prepared: Prepared
    card: RunCard
    facts: Mapping[str, Any]
    encoder: Any = None


def _carry_out(recipe: Recipe, folder: Path, start: Start, stop: Stop) -> dict[str, float]:
    from hone.models.device import choose_device
    from hone.runs.model import build_model, plan_dtypes
    from hone.runs.record import write_record
    from hone.training.arguments import trainer_arguments
    from hone.training.checkpoints.sameness import refuse_changes
    from hone.training.lean import set_seed

    device = choose_device(use_cpu=recipe.training.use_cpu)
    plan = plan_dtypes(recipe, device)
    arguments = trainer_arguments(recipe.training, autocast=plan.autocast)
    prelude = _prepare(recipe, folder)
    check_best_metric(recipe, prelude.stage, list(prelude.prepared.evals))
    if start.checkpoint is not None:
        refuse_changes(start.checkpoint, prelude.facts, override=recipe.training.resume_override)
    set_seed(recipe.training.seed)
    prepared = prelude.prepared
    model = build_model(
        recipe, plan, device, prepared.stream or prepared.train, prelude.stage, prelude.tokenizer, prelude.encoder
    )
    with _trainer(recipe, arguments, model, prelude, start, folder, stop) as trainer:
        place = {"process": trainer.args.process_index, "processes": trainer.args.world_size}
        trainer.answering = answering_of(recipe, folder, **place)
        metrics = _learn(recipe, trainer, prelude, start, folder, stop) if recipe.training.do_train else {}
        if recipe.training.do_eval and prelude.prepared.evals:
            metrics |= _measure(trainer)
    if is_first_process():
        write_card_of(recipe, prelude.card, folder)
        if trainer.steps_done:
            write_record(folder, recipe, prelude.facts, trainer)
    return metrics


def _prepare(recipe: Recipe, folder: Path) -> Prelude:
    """Tokenizer, template and stage, and the data as they encode it. Only one process tells about them."""
    from hone.data.prepare import prepare
    from hone.runs.encoding import encoding_of
    from hone.runs.facts import facts_of
    from hone.runs.template import template_options

    encoding = encoding_of(recipe)
    # A stream is shuffled where it is read; everything else is by the trainer.
    data = replace(recipe.data, buffer_size=1) if recipe.finetuning.disable_shuffling else recipe.data
    prepared = prepare(
        data,
        encoding.stage,
        encoding.encoder,
        seed=recipe.training.seed,
        cache_dir=cache_root() / "data",
        run_dir=folder,
        train=recipe.training.do_train,
        quiet=not is_first_process(),
    )
    if is_first_process():
        tell_of(prepared, encoding.encoder, encoding.stage)
    card = RunCard(
        template=encoding.encoder.template.name,
        template_options=template_options(recipe.data, card=encoding.card, given=recipe.given),
        template_fingerprint=encoding.encoder.template.fingerprint(),
        base_model=recipe.model.model_name_or_path,
        base_fingerprint=encoding.base,
        stage=recipe.finetuning.stage,
        finetuning_type=recipe.finetuning.finetuning_type,
        base_bits=recipe.quantization.quantization_bit,
    )
    facts = facts_of(recipe, prepared, encoder=encoding.encoder.fingerprint(), model=encoding.base)
    return Prelude(encoding.tokenizer, encoding.stage, prepared, card, facts, encoding.encoder)


@contextmanager
def _trainer(
    recipe: Recipe, arguments: Any, model: Any, prelude: Prelude, start: Start, folder: Path, stop: Stop
) -> Iterator[StageTrainer]:
    """The trainer with its onlookers; the recipe is written down as the run begins."""
    import torch

    from hone.models.processor import copy_processor
    from hone.models.save import save_model
    from hone.training.checkpoints.keeper import Keeper
    from hone.training.memory import memory_in_use
    from hone.training.optimizers import chosen_optimizer
    from hone.training.pace import Pace
    from hone.training.trainer import StageTrainer
    from hone.training.watchers.early_stopping import EarlyStopping
    from hone.training.watchers.log import LogWriter
    from hone.training.watchers.progress import Progress
    from hone.training.watchers.stop import StopWatcher

    def write(model: Any, place: Path) -> None:
        save_model(model, prelude.tokenizer, place)
        if recipe.finetuning.finetuning_type in ("full", "freeze"):
            copy_processor(recipe.model, place)
        write_card(place, prelude.card)

    if is_first_process():
        name = "recipe.yaml" if recipe.training.do_train else "recipe_eval.yaml"
        write_text(folder / name, as_yaml(recipe))
    keeper = Keeper(folder, facts=prelude.facts, stale=start.stale, alone=not several())
    if is_first_process():
        keeper.sweep()
    pace = Pace()
    progress = Progress(pace)
    watchers: list[Any] = [
        LogWriter(
            folder,
            pace,
            anew=recipe.training.overwrite_output_dir and is_first_process(),
            memory=memory_in_use if _records_memory(recipe) else None,
        ),
        progress,
        (stopping := StopWatcher(stop, keeper)),
    ]
    if recipe.finetuning.early_stopping_steps:
        watchers.append(EarlyStopping(recipe.finetuning.early_stopping_steps))
    try:
        trainer = StageTrainer(
            model,
            arguments,
            prelude.stage,
            write=write,
            train=prelude.prepared.stream or prelude.prepared.train,
            evals=prelude.prepared.evals,
            shuffle=not recipe.finetuning.disable_shuffling,
            keeper=keeper,
            watchers=watchers,
            pace=pace,
            optimizer=chosen_optimizer(recipe.finetuning),
        )
        stopping.agree = trainer.agree if several() else None
        yield trainer
    except torch.OutOfMemoryError as reason:
        raise MachineError.one(
            "MEMORY", f"the device has too little memory ({str(reason).splitlines()[0]})", str(arguments.device),
            "lower per_device_train_batch_size or cutoff_len, or set gradient_checkpointing: true",
        ) from None  # fmt: skip
    finally:
        progress.close()


def _records_memory(recipe: Recipe) -> bool:
    return recipe.training.record_vram or os.environ.get("RECORD_VRAM", "").lower() in ("1", "true", "y")


def _learn(
    recipe: Recipe, trainer: StageTrainer, prelude: Prelude, start: Start, folder: Path, stop: Stop
) -> dict[str, float]:
    """Train, and save what was learned and how it went."""
    from hone.training.checkpoints.room import refuse_a_full_disk, room_of
    from hone.training.results import report

    if is_first_process():
        room = room_of(trainer.model, trainer.args, steps=trainer.total_steps, limit=trainer.keeper.limit)
        refuse_a_full_disk(folder, room)
    if start.checkpoint is not None:
        say(f"going on from {start.checkpoint}")
    began = time.monotonic()
    outcome = trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
    metrics = dict(outcome.metrics)
    if recipe.finetuning.include_effective_tokens_per_second:
        metrics |= trainer.speeds(time.monotonic() - began)
    trainer.save_model()
    if is_first_process():
        trainer.keeper.forget_stale()
    if trainer.steps_done:
        report(trainer, "train", metrics)
    else:
        warn(f"the checkpoint has all {outcome.global_step} steps already; nothing was left to train")
    trainer.save_state()
    if recipe.finetuning.plot_loss and is_first_process():
        draw_curves(trainer, folder)
    trainer.keeper.settle()
    stop.release()
    return metrics


def _measure(trainer: StageTrainer) -> dict[str, float]:
    """Evaluate once more, with the weights that the run ended with."""
    from hone.training.results import report

    metrics = trainer.evaluate()
    report(trainer, "eval", metrics)
    if trainer.state.global_step:
        trainer.save_state()
    return dict(metrics)


def check_best_metric(recipe: Recipe, stage: Any, sets: Sequence[str]) -> None:
    """The metric that decides must be one that an evaluation will bring; said now, not at the first evaluation."""
    from hone.errors import RecipeError

    wanted = recipe.training.metric_for_best_model
    if not wanted or recipe.training.eval_strategy == "no":
        return
    measures = ("loss", *stage.measures, *names_of_measures(recipe))
    known = [f"{name}_{measure}" if name else measure for name in sets for measure in measures]
    known = list(dict.fromkeys(["loss", *known]))
    if wanted.removeprefix("eval_") not in known:
        raise RecipeError.one(
            "CFG-METRIC", f"no evaluation of this run measures {wanted}", "metric_for_best_model",
            f"choose from {', '.join(f'eval_{name}' for name in known)}",
        )  # fmt: skip
