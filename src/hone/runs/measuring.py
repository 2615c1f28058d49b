"""Answers that are generated and scored: by the model that is learning, in its evaluations, and by the finished one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import RecipeError
from hone.recipe import Recipe
from hone.training.processes import several

if TYPE_CHECKING:
    from hone.data.examples import ExampleSet
    from hone.engines.base import Settings
    from hone.runs.encoding import Encoding

GROUP = 64
"""Questions between two looks at whether the run is to stop."""
Gather = Callable[[Any], Sequence[Any]]


@dataclass(frozen=True)
class Answering:
    """What an evaluation asks of the learning model, and how the answers are scored."""

    sets: Mapping[str, ExampleSet]
    encoding: Encoding
    settings: Settings
    measures: Sequence[Any]
    process: int = 0
    processes: int = 1

    def __call__(self, model: Any, prefix: str, gather: Gather, pause: Callable[[], None]) -> dict[str, float]:
        """The scores of the set that `prefix` (`eval`, `eval_NAME`) stands for, under it. Every process answers its
        share; adapters and mode of the model are afterwards as they were."""
        from hone.engines.batch import answer_all
        from hone.models.label_states import unwrapped
        from hone.runs.prediction import answered, call_reader, measured
        from hone.stages.shared.asking import sides

        name = prefix.removeprefix("eval").lstrip("_")
        asked = [sides(example) for example in self.sets[name if name in self.sets else ""]]
        mine = asked[self.process :: self.processes]
        order = sorted(range(len(mine)), key=lambda row: len(mine[row][0]))
        said: dict[int, Sequence[int]] = {}
        for start in range(0, len(order), GROUP):
            group = order[start : start + GROUP]
            answers = answer_all(unwrapped(model), [mine[row][0] for row in group], self.settings)
            ids = [answer.ids[:-1] if answer.ended else answer.ids for answer in answers]
            said |= dict(zip(group, ids, strict=True))
            pause()
        skip = self.settings.skip_special_tokens
        texts = [
            answered(self.encoding.tokenizer, mine[row][0], said[row], mine[row][1], skip=skip)
            for row in range(len(mine))
        ]
        whole = [one for part in gather(texts) for one in part]
        found = measured(whole, self.measures, call_reader(self.encoding.encoder.template)).together
        return {f"{prefix}_{measure}": value for measure, value in found.items()}


def names_of_measures(recipe: Recipe) -> tuple[str, ...]:
    """What evaluations measure of generated answers; a function of the user's is known by its own name."""
    from hone.evals.similarity import MEASURES

    if not recipe.training.predict_with_generate:
        return ()
    return (*MEASURES, *(name.rpartition(":")[2] for name in recipe.training.predict_metrics))


def answering_of(recipe: Recipe, folder: Path, *, process: int, processes: int) -> Answering | None:
    """What evaluations of this recipe ask; None where they measure the loss alone."""
    training = recipe.training
    if not training.predict_with_generate or not (training.do_eval or training.eval_strategy != "no"):
        return None
    from hone.evals.measures import load_measure
    from hone.evals.similarity import similarity
    from hone.runs.encoding import encoding_of
    from hone.runs.predict import generation_settings, questions_of

    similarity("", "")
    measures = [load_measure(name) for name in training.predict_metrics]
    encoding = encoding_of(recipe)
    settings = replace(generation_settings(recipe, encoding.encoder.stop_ids), elastic=True)
    return Answering(questions_of(recipe, encoding, folder), encoding, settings, measures, process, processes)


def refuse_predicting_together(recipe: Recipe) -> None:
    """Several processes would answer every question several times."""
    if recipe.training.do_predict and several():
        fix = "leave it out here, and run `hone predict` when the training is done"
        raise RecipeError.one("CFG-CONFLICT", "do_predict runs in one process", "do_predict", fix)


def predict_afterwards(recipe: Recipe) -> dict[str, float]:
    """Answer with what the run has saved: its adapter after those it merged, or its weights."""
    from hone.runs.predict import predict

    gc.collect()
    if not recipe.training.do_train:
        return predict(recipe)
    model, tuning, folder = recipe.model, recipe.finetuning, recipe.training.output_dir
    if tuning.finetuning_type in ("lora", "oft"):
        earlier = model.adapter_name_or_path
        kept = earlier if tuning.create_new_adapter else earlier[:-1]
        model = replace(model, adapter_name_or_path=(*kept, folder))
    else:
        model = replace(model, model_name_or_path=folder)
    return predict(replace(recipe, model=model))
