"""What every evaluation leaves and says: the names of its files, the mark of its model, the certainty of a score."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from hone.recipe import Recipe

ANSWERS, PARTIAL = "answers.jsonl", "answers.partial.jsonl"


def model_mark(recipe: Recipe) -> list[Any]:
    """What decides the model's answers: base, adapters, number format."""
    from hone.models.fingerprint import base_fingerprint
    from hone.models.source import find_source, locate

    model, found = recipe.model, []
    for adapter in model.adapter_name_or_path:
        place = locate(adapter, token=model.hf_hub_token, cache_dir=model.cache_dir, key="adapter_name_or_path").path
        files = sorted((place / (model.adapter_folder or "")).glob("adapter_*"))
        found += [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return [base_fingerprint(find_source(model).path), found, model.infer_dtype, repr(recipe.quantization)]


def certainty(right: Sequence[bool]) -> str:
    """How many are right, with the 95 % interval, as a line."""
    from hone.evals.certainty import interval

    low, high = interval(sum(right), len(right))
    return f"{sum(right):,} of {len(right):,} right; 95 % interval {100 * low:.2f} to {100 * high:.2f}"
