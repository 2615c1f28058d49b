"""Rules about answers that are generated from data and scored."""

from __future__ import annotations

from collections.abc import Iterator

from hone.recipe.rules.rule import Broken
from hone.recipe.schema import Recipe


def predict_rules(recipe: Recipe) -> Iterator[Broken]:
    """For the verbs `predict` and `train`."""
    training, data = recipe.training, recipe.data
    verb = recipe.verb == "predict"
    if not (verb or training.do_predict or training.predict_with_generate):
        for name, default in (("predict_metrics", ("exact_match",)), ("predict_beside", None)):
            if name in recipe.given and getattr(training, name) != default:
                yield Broken((name,), "goes with do_predict or predict_with_generate")
        return
    key = "do_predict" if verb or training.do_predict else "predict_with_generate"
    scores = recipe.finetuning.stage == "rm" and not training.predict_with_generate
    if recipe.finetuning.stage != "sft" and not scores:
        what = "answers are scored for stage sft, and do_predict scores pairs for stage rm; keep to one of them"
        yield Broken((key,), what, weighed=("stage",))
    if verb and not data.eval_dataset and not data.val_size:
        what = "there is nothing to answer; give eval_dataset or val_size"
        yield Broken(("eval_dataset",), what, "CFG-MISSING", ("val_size",))
    during = training.predict_with_generate and not verb and (training.do_train or training.do_eval)
    if during and recipe.generating.repetition_penalty != 1.0:
        yield Broken(("repetition_penalty", "predict_with_generate"), "is not used while training; predict afterwards")
    if during and data.streaming and data.val_size:
        yield Broken(
            ("predict_with_generate", "val_size"), "rows held out of a stream are not answered; give eval_dataset"
        )
    if during and (training.arguments.get("deepspeed") or training.arguments.get("fsdp")):
        yield Broken(
            ("predict_with_generate",), "a model in shards does not answer while it learns; predict afterwards"
        )
