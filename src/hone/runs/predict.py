"""`hone predict`, and `hone train` with `do_predict`: answer data sets, write the answers down and score them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import RecipeError
from hone.log import say, warn
from hone.recipe import Recipe, as_yaml, read_recipe
from hone.rundir import cache_root, held, write_text

if TYPE_CHECKING:
    from hone.data.examples import ExampleSet
    from hone.engines.base import Settings
    from hone.runs.encoding import Encoding

SIDE_BY_SIDE = 64
"""How many answers are written at once, unless `per_device_eval_batch_size` says otherwise."""


def run(words: Sequence[str]) -> int:
    """The verb."""
    from hone.training.checkpoints.start import choose_start

    recipe = read_recipe(words, verb="predict")
    if recipe.training.do_train:
        warn("do_train has no effect on predict; `hone train` with do_predict: true does both")
    folder = Path(recipe.training.output_dir)
    choose_start(folder, overwrite=recipe.training.overwrite_output_dir, resume=None, train=False)
    with held(folder):
        predict(recipe)
    return 0


@dataclass(frozen=True)
class _Work:
    """All that answers are made with."""

    recipe: Recipe
    encoding: Encoding
    settings: Settings
    engine: Any
    side_by_side: int
    mark: str


def predict(recipe: Recipe) -> dict[str, float]:
    """Answer every set that the recipe evaluates on; the folder is held already. Returns the metrics.

    Data and measures are looked at before the model is loaded. Answers that an earlier run of the same recipe, data and
    model has left unfinished are taken over. A reward model (stage rm) scores pairs instead. Raises the faults of data
    and model, and RecipeError.
    """
    from hone.evals.measures import load_measure
    from hone.evals.similarity import similarity
    from hone.runs.encoding import encoding_of
    from hone.runs.engines import check_engine
    from hone.runs.prediction import write_results
    from hone.runs.scoring import predict_scores

    scores = recipe.finetuning.stage == "rm"
    measures = [] if scores else [load_measure(name) for name in recipe.training.predict_metrics]
    if not scores:
        similarity("", "")  # says at once if its package is missing
    check_engine(recipe)
    folder = Path(recipe.training.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe_predict.yaml", as_yaml(recipe))
    encoding = encoding_of(recipe)
    if scores:
        metrics = predict_scores(recipe, encoding, folder)
        write_results(folder, metrics)
        return metrics
    sets = questions_of(recipe, encoding, folder)
    began = time.monotonic()
    work = _open(recipe, encoding, sets)
    metrics = {"predict_model_preparation_time": round(time.monotonic() - began, 4)}
    for name, examples in sets.items():
        metrics |= _predict_set(work, folder, name, examples, measures)
    write_results(folder, metrics)
    return metrics


def questions_of(recipe: Recipe, encoding: Encoding, folder: Path) -> Mapping[str, ExampleSet]:
    """The evaluation sets as questions with the answers they had: the very rows that training evaluates on."""
    from hone.data.prepare import prepare
    from hone.stages.shared.asking import Asking

    prepared = prepare(
        replace(recipe.data, tokenized_path=None),
        encoding.stage,
        encoding.encoder,
        seed=recipe.training.seed,
        cache_dir=cache_root() / "data",
        run_dir=folder,
        eval_stage=Asking(),
        train=False,
    )
    return prepared.evals


def generation_settings(recipe: Recipe, stop_ids: Sequence[int]) -> Settings:
    """How to answer, as the recipe says; draws follow from `seed`."""
    from hone.engines.base import Settings

    return Settings.of(
        recipe.generating,
        stop_ids=stop_ids,
        seed=recipe.training.seed,
        elastic=not {"max_new_tokens", "max_length"} & recipe.given,
    )


def _open(recipe: Recipe, encoding: Encoding, sets: Mapping[str, ExampleSet]) -> _Work:
    from hone.runs.engines import open_engine

    given = "per_device_eval_batch_size" in recipe.given
    most = recipe.training.per_device_eval_batch_size if given else SIDE_BY_SIDE
    settings = generation_settings(recipe, encoding.encoder.stop_ids)
    engine = open_engine(recipe, encoding.tokenizer, slots=most, queue=most)
    _refuse_long(sets, settings, engine.context)
    return _Work(recipe, encoding, settings, engine, most, _mark(recipe, encoding, settings))


def _refuse_long(sets: Mapping[str, ExampleSet], settings: Settings, context: int | None) -> None:
    """Say at once which questions leave no room for an answer."""
    from hone.engines.base import PromptTooLongError
    from hone.stages.shared.asking import sides

    faults = []
    for name, examples in sets.items():
        for number, example in enumerate(examples):
            try:
                settings.room(len(sides(example)[0]), context)
            except PromptTooLongError as reason:
                where = f"row {number + 1}" + (f" of {name}" if name else "")
                faults += [replace(fault, where=where) for fault in reason.faults]
    RecipeError.all_of(faults[:20])


def _mark(recipe: Recipe, encoding: Encoding, settings: Settings) -> str:
    """What decides the answers, data apart: model, adapters, template and settings."""
    from hone.models.source import locate

    model = recipe.model
    whole = hashlib.sha256()
    parts = [encoding.base, encoding.encoder.fingerprint(), asdict(settings), asdict(recipe.quantization)]
    parts += [model.infer_dtype, recipe.finetuning.finetuning_type, recipe.engine.infer_backend]
    whole.update(repr(parts).encode())
    for adapter in model.adapter_name_or_path:
        place = locate(adapter, token=model.hf_hub_token, cache_dir=model.cache_dir, key="adapter_name_or_path").path
        for file in sorted((place / (model.adapter_folder or "")).glob("adapter_*")):
            whole.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _predict_set(
    work: _Work, folder: Path, name: str, examples: ExampleSet, measures: Sequence[Any]
) -> dict[str, float]:
    """Answers, scores and files of one set; its metrics, with its name in theirs if there are several."""
    from hone.runs.prediction import answered, call_reader, measured, write_predictions
    from hone.stages.shared.asking import sides

    asked = [sides(example) for example in examples]
    began = time.monotonic()
    said, fresh = _answers(work, folder, name, asked)
    seconds = max(time.monotonic() - began, 1e-9)
    skip = work.settings.skip_special_tokens
    answers = [
        answered(work.encoding.tokenizer, prompt, said[row], label, skip=skip)
        for row, (prompt, label) in enumerate(asked)
    ]
    scores = measured(answers, measures, call_reader(work.encoding.encoder.template))
    beside = work.recipe.training.predict_beside
    write_predictions(folder, name, answers, scores, beside=Path(beside) if beside else None)
    (folder / _unfinished(name)).unlink(missing_ok=True)
    prefix = f"predict_{name}" if name else "predict"
    speed = {
        "runtime": round(seconds, 4),
        "samples_per_second": round(fresh / seconds, 3),
        "steps_per_second": round(math.ceil(fresh / work.side_by_side) / seconds, 3),
    }
    return {f"{prefix}_{measure}": value for measure, value in {**scores.together, **speed}.items()}


def _unfinished(name: str) -> str:
    from hone.runs.prediction import ANSWERS, named

    return named(ANSWERS, name).replace(".jsonl", ".partial.jsonl")


def _answers(
    work: _Work, folder: Path, name: str, asked: Sequence[tuple[list[int], list[int]]]
) -> tuple[dict[int, list[int]], int]:
    """The ids of every answer, and how many of them were made now."""
    from hone.engines.rows import answer_rows
    from hone.runs.gauge import Gauge
    from hone.runs.unfinished import Unfinished

    mark = hashlib.sha256(f"{work.mark} {asked!r}".encode()).hexdigest()[:32]
    record = Unfinished(folder / _unfinished(name), mark)
    try:
        missing = {row: prompt for row, (prompt, _) in enumerate(asked) if row not in record.rows}
        begun = len(asked) - len(missing)
        if begun:
            say(f"{begun:,} of {len(asked):,} answers were written before; going on")
        with Gauge(f"answering {name}".rstrip(), len(asked), things="answers", begun=begun) as gauge:
            answers = answer_rows(work.engine, missing, work.settings, side_by_side=work.side_by_side)
            for answer in answers:
                record.add(answer.row, {"ids": list(answer.ids), "finish": answer.finish})
                gauge.add(tokens=len(answer.ids))
    finally:
        record.close(done=False)
    cut = sum(row["finish"] == "length" for row in record.rows.values())
    if cut:
        say(f"{cut:,} of {len(asked):,} answers were cut off by max_new_tokens or the model's context")
    return {row: record.rows[row]["ids"] for row in range(len(asked))}, len(missing)
