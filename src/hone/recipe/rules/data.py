"""Rules about data sets and the template."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from hone.recipe.rules.rule import Broken, missing
from hone.recipe.schema import Recipe
from hone.registry import names

TINY = 1e-6
"""A val_size up to this is none."""


def template_rules(recipe: Recipe, templates: Collection[str] | None) -> Iterator[Broken]:
    """The named template exists. `templates` defaults to the cards that lie in Hone."""
    known = names("hone.dialogue.templates", ".toml") if templates is None else tuple(templates)
    name = recipe.data.template
    if name is None or not known or name in known:
        return
    close = get_close_matches(name, known, n=1)
    others = f"the templates are {', '.join(sorted(known))}" if len(known) <= 12 else "docs/templates.md lists them"
    fix = f"did you mean {close[0]}?" if close else others
    yield Broken(("template",), f"no template is called {name[:40]}; {fix}", "CFG-VALUE")


def data_rules(recipe: Recipe) -> Iterator[Broken]:
    """Training and evaluation data, for the verb `train`."""
    data, training = recipe.data, recipe.training
    if training.do_train and not data.dataset:
        yield missing("dataset", "training needs a data set", "do_train")
    if data.mask_history and data.train_on_prompt:
        yield Broken(("mask_history", "train_on_prompt"), "one learns less than the answers, one more; keep one")
    yield from _evaluation_data(recipe)
    yield from _other_stages(recipe)
    yield from _mixing(recipe)


def _evaluation_data(recipe: Recipe) -> Iterator[Broken]:
    data, training = recipe.data, recipe.training
    if data.val_size >= 1 and data.val_size != int(data.val_size):
        yield Broken(
            ("val_size",), f"must be a share below 1 or a whole number of rows, not {data.val_size:g}", "CFG-VALUE"
        )
    elif data.val_size > TINY and not data.dataset:
        yield Broken(("val_size",), "is taken from dataset, which is not given", weighed=("dataset",))
    elif data.val_size > TINY and data.eval_dataset:
        yield Broken(("val_size", "eval_dataset"), "both name evaluation data; keep one")
    asked = next((key for key in ("do_predict", "predict_with_generate") if getattr(training, key)), None)
    asked = asked or ("eval_strategy" if training.eval_strategy != "no" else "do_eval" if training.do_eval else None)
    if asked and data.val_size <= TINY and not data.eval_dataset:
        yield Broken((asked,), "there is nothing to evaluate on; give eval_dataset or val_size", "CFG-MISSING",
                     ("eval_dataset", "val_size"))  # fmt: skip


def _other_stages(recipe: Recipe) -> Iterator[Broken]:
    if recipe.finetuning.stage == "sft":
        return
    switches = {
        "neat_packing": recipe.data.neat_packing,
        "train_on_prompt": recipe.data.train_on_prompt,
        "mask_history": recipe.data.mask_history,
        "predict_with_generate": recipe.training.predict_with_generate,
    }
    for name, on in switches.items():
        if on:
            yield Broken((name,), "belongs to stage sft", weighed=("stage",))


def _mixing(recipe: Recipe) -> Iterator[Broken]:
    data = recipe.data
    if data.interleave_probs:
        counts = {len(names) for names in (data.dataset, data.eval_dataset) if names}
        if data.mix_strategy == "concat":
            yield Broken(("interleave_probs",), "goes with an interleaving mix_strategy", weighed=("mix_strategy",))
        elif counts != {len(data.interleave_probs)}:
            yield Broken(
                ("interleave_probs",), "needs one share for each data set", weighed=("dataset", "eval_dataset")
            )
    if data.streaming and (0 < data.val_size < 1):
        yield Broken(("streaming", "val_size"), "a share of a stream is unknown; give a whole number of rows")
    if data.streaming and data.max_samples is not None:
        yield Broken(("streaming", "max_samples"), "a stream is limited by max_steps")
    if data.streaming and recipe.training.max_steps <= 0:
        yield Broken(("streaming",), "has no end; give max_steps", "CFG-MISSING", ("max_steps",))
