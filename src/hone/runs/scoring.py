"""`do_predict` of a reward model: the scores of both answers of every pair, and how often the better one wins."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.log import say
from hone.recipe import Recipe
from hone.rundir import cache_root, write_text

if TYPE_CHECKING:
    from hone.data.examples import ExampleSet
    from hone.runs.encoding import Encoding

Scores = Sequence[tuple[float, float]]
"""Of each pair: the better answer's score and the worse one's."""


def predict_scores(recipe: Recipe, encoding: Encoding, folder: Path) -> dict[str, float]:
    """Score every set that the recipe evaluates on, by `encoding.stage` (rm); writes `generated_predictions.jsonl`, one
    pair a line with two decimals, and returns the metrics. Raises the faults of data and model."""
    from hone.data.prepare import prepare
    from hone.models.attention import use_packed_attention
    from hone.models.speed.quicken import quicken
    from hone.runs.engines.huggingface import load_answering
    from hone.runs.prediction import ANSWERS, named

    prepared = prepare(
        recipe.data, encoding.stage, encoding.encoder, seed=recipe.training.seed, cache_dir=cache_root() / "data",
        run_dir=folder, train=False,
    )  # fmt: skip
    began = time.monotonic()
    model = load_answering(recipe, encoding.tokenizer).eval()
    use_packed_attention(model)
    quicken(model)
    metrics = {"predict_model_preparation_time": round(time.monotonic() - began, 4)}
    for name, examples in prepared.evals.items():
        began = time.monotonic()
        scores = _scores(model, encoding.stage, examples, recipe.training.per_device_eval_batch_size)
        seconds = max(time.monotonic() - began, 1e-9)
        file = folder / named(ANSWERS, name)
        pairs = [{"chosen": round(better, 2), "rejected": round(worse, 2)} for better, worse in scores]
        write_text(file, "".join(f"{json.dumps(pair)}\n" for pair in pairs))
        say(f"{len(pairs):,} pairs of scores in {file}")
        prefix = f"predict_{name}" if name else "predict"
        metrics |= {f"{prefix}_{measure}": value for measure, value in _measured(scores, seconds).items()}
    return metrics


def _scores(model: Any, stage: Any, examples: ExampleSet, size: int) -> Scores:
    import torch

    from hone.models.value_head import segment_values

    found: list[tuple[float, float]] = []
    with torch.no_grad():
        for start in range(0, len(examples), size):
            batch = stage.collate([examples[number] for number in range(start, min(start + size, len(examples)))])
            moved = {name: value.to(model.device) for name, value in batch.items()}
            values = segment_values(model, moved).tolist()
            found += zip(values[0::2], values[1::2], strict=True)
    return found


def _measured(scores: Scores, seconds: float) -> dict[str, float]:
    import torch

    from hone.training.losses.reward import reward_losses

    better, worse = torch.tensor(scores, dtype=torch.float32).view(-1, 2).T
    return {
        "loss": float(reward_losses(better, worse).mean()),
        "accuracy": float((better > worse).float().mean()),
        "runtime": round(seconds, 4),
        "samples_per_second": round(len(scores) / seconds, 3),
    }
