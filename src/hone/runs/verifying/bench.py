"""What the checks work on: a few encoded rows, and the model with its stage, built anew for each way to compute."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.recipe import Recipe
from hone.runs.encoding import Encoding, encoding_of
from hone.runs.verifying.twin import Likeness, is_large, make_twin
from hone.training.experience import Gathering
from hone.training.stage import Batch

if TYPE_CHECKING:
    from hone.dialogue.example import Example

ROWS, LONGEST, SEEN, SEED = 6, 128, 64, 3
"""Rows that are computed with, tokens of one, rows of each set that they are chosen from, and what is drawn by."""
ANSWER = 8
"""Tokens of an answer that a stage lets the model write."""


@dataclass(frozen=True)
class Bench:
    """`recipe` names the model that is computed with; `encoding` is that of the user's own."""

    recipe: Recipe
    encoding: Encoding
    rows: Sequence[Example]
    subject: str
    notes: Sequence[str]

    def built(self, *, alone: bool = False, stirred: bool = True) -> tuple[Any, Any]:
        """The model in training mode and its stage, always with the same numbers. `alone`: each segment runs by
        itself; `stirred`: what a tuner begins with at zero has other values, else nothing would show."""
        with contextlib.redirect_stderr(io.StringIO()):
            return self._built(alone, stirred)

    def _built(self, alone: bool, stirred: bool) -> tuple[Any, Any]:
        import torch

        from hone.models.attention import run_alone, use_packed_attention
        from hone.models.load import load_model
        from hone.models.tuners import attach
        from hone.models.vocabulary import grow_model
        from hone.stages import load_stage
        from hone.stages.shared.reference import Materials

        recipe, cpu = self.recipe, torch.device("cpu")
        torch.manual_seed(SEED)
        stage = load_stage(recipe.finetuning)
        model = load_model(recipe.model, dtype=torch.float32, device=cpu, reach=LONGEST, training=True)
        grow_model(model, self.encoding.tokenizer, recipe.model)
        model = attach(model, recipe.finetuning, recipe.model, training=True, merge=not stage.compares)
        if stirred:
            _stir(model)
        _still(model)
        use_packed_attention(model)
        materials = Materials(
            recipe.model, recipe.quantization, recipe.finetuning, torch.float32, cpu, recipe.generating,
            self.encoding.encoder,
        )  # fmt: skip
        stage.equip(model, materials)
        _still(model)
        if alone:
            run_alone(model)
        return model.train(), stage

    def batches(self, model: Any, stage: Any, rows: Sequence[Example] | None = None) -> list[Batch]:
        """Each row as a micro-batch; of a stage that generates, what the model as it is now answers."""
        import torch

        made = [stage.collate([row]) for row in (self.rows if rows is None else rows)]
        if not isinstance(stage, Gathering):
            return made
        with torch.no_grad():
            return list(stage.gather(model, made, seed=SEED))

    def generates(self, stage: Any) -> bool:
        """Whether the stage learns from answers of the model's own."""
        return isinstance(stage, Gathering)


@contextmanager
def bench_of(recipe: Recipe) -> Iterator[Bench]:
    """The recipe's rows and its model, or a twin where it is large. Raises what a training would raise."""
    from hone.models.source import find_source

    with contextlib.redirect_stderr(io.StringIO()):
        encoding = encoding_of(recipe)
    with tempfile.TemporaryDirectory(prefix="hone-verify-") as place:
        rows = _rows(recipe, encoding, Path(place) / "data")
        plain, notes = _plain(recipe)
        source = find_source(recipe.model).path
        if not is_large(source):
            yield Bench(plain, encoding, rows, "the model's own weights", notes)
            return
        yield _with_twin(plain, encoding, rows, notes, source, Path(place))


def _with_twin(
    recipe: Recipe, encoding: Encoding, rows: Sequence[Example], notes: list[str], source: Path, place: Path
) -> Bench:
    """The first twin that can be built: narrow, or with fewer blocks alone. What no twin can be is the recipe's fault,
    and is raised."""
    from hone.models.gguf import folder_for_a_while
    from hone.models.tokenizer import load_tokenizer

    if recipe.model.adapter_name_or_path:
        notes.append("adapter_name_or_path: earlier adapters do not fit a twin; a new one takes their place")
    trouble: Exception | None = None
    for narrow in (True, False):
        likeness, folder = Likeness(narrow), place / ("narrow" if narrow else "shallow")
        section = replace(recipe.model, model_name_or_path=str(folder), adapter_name_or_path=(), model_revision="main")
        bench = Bench(replace(recipe, model=section), encoding, rows, str(likeness), notes)
        try:
            with folder_for_a_while(source) as config:
                make_twin(config, recipe.model, load_tokenizer(recipe.model), folder, likeness)
            bench.built()
            return bench
        except Exception as reason:  # a shape that its library cannot be, or targets that it lacks
            trouble = reason
    assert trouble is not None
    raise trouble


def _rows(recipe: Recipe, encoding: Encoding, cache: Path) -> list[Example]:
    """Some of the rows, from the shortest to the longest, each an example of its own."""
    from hone.data.prepare import prepare
    from hone.errors import DataError

    data = replace(
        recipe.data, cutoff_len=min(recipe.data.cutoff_len, LONGEST), packing=False, neat_packing=False,
        streaming=False, tokenized_path=None, val_size=0.0, eval_dataset=(), on_overflow="truncate",
        max_samples=min(recipe.data.max_samples or SEEN, SEEN),
    )  # fmt: skip
    found = prepare(
        data, encoding.stage, encoding.encoder, seed=recipe.training.seed, cache_dir=cache, evaluate=False, quiet=True
    ).train
    if found is None or not len(found):
        raise DataError.one("DATA-EMPTY", "there is no row to verify with", ", ".join(recipe.data.dataset))
    order = found.lengths.argsort(kind="stable")
    places = sorted({round(step * (len(order) - 1) / max(ROWS - 1, 1)) for step in range(ROWS)})
    return [found[int(order[place])] for place in places]


def _plain(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe without what is drawn anew each time and without second models; and what was left out, in words."""
    tuning, notes = recipe.finetuning, []
    changes: dict[str, Any] = {"pure_bf16": False}
    if tuning.lora_dropout:
        changes["lora_dropout"] = 0.0
        notes.append("lora_dropout: off, since it draws other numbers each time")
    if tuning.ref_model:
        changes |= {"ref_model": None, "ref_model_adapters": ()}
        notes.append("ref_model: the model before training takes its place")
    if tuning.reward_model:
        named = tuning.reward_funcs or ("length:9",)
        changes |= {"reward_model": None, "reward_funcs": named, "reward_weights": ()}
        notes.append(f"reward_model: {', '.join(named)} judges instead")
    if tuning.use_llama_pro:
        changes["use_llama_pro"] = False
        notes.append("use_llama_pro: any block may learn")
    if tuning.finetuning_type == "freeze":
        most = max(-2, min(2, tuning.freeze_trainable_layers))
        changes["freeze_trainable_layers"] = most
        if most != tuning.freeze_trainable_layers:
            notes.append(f"freeze_trainable_layers: {most} instead of {tuning.freeze_trainable_layers}")
    if recipe.training.arguments.get("neftune_noise_alpha"):
        notes.append("neftune_noise_alpha: off, since it draws other numbers each time")
    model = recipe.model
    if model.moe_aux_loss_coef:
        model = replace(model, moe_aux_loss_coef=None)
        notes.append("moe_aux_loss_coef: off, since the balance is that of a micro-batch")
    if recipe.quantization.quantization_bit is not None:
        notes.append("quantization_bit: the weights are taken in float32")
    if recipe.training.bf16 or recipe.training.fp16:
        notes.append("bf16, fp16: everything is computed in float32")
    writing = replace(recipe.generating, max_new_tokens=min(recipe.generating.max_new_tokens or ANSWER, ANSWER))
    return replace(recipe, model=model, finetuning=replace(tuning, **changes), generating=writing), notes


def _stir(model: Any) -> None:
    """Give what learns and is all zero (the second factor of LoRA …) other values."""
    import torch

    maker = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not bool(parameter.any()):
                parameter.copy_(torch.randn(parameter.shape, generator=maker) * 0.1)


def _still(model: Any) -> None:
    """Nothing is dropped at random."""
    from torch import nn

    from hone.models.value_head import value_head

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    head = value_head(model)
    if head is not None:
        head.dropout = 0.0
