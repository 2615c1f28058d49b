"""Pretraining: go on learning plain text, every token of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hone.data.encode import encode_document
from hone.data.stage import Encoded, Limits
from hone.dialogue.records import Document
from hone.stages.shared.causal import CausalStage
from hone.training.losses.perplexity import perplexity


class Stage(CausalStage):
    """Texts, run on end to end and cut into blocks unless `packing` is false."""

    name = "pt"
    record = Document
    measures = ("perplexity",)
    joining: Literal["fit", "stream"] = "stream"
    blind = "texts are run on and cut into blocks, which would split them"

    def encode(self, records: Sequence[Document], encoder: Any, limits: Limits) -> list[Encoded]:
        """One text as one example."""
        return encode_document(records, encoder, limits)

    def summary(self, metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
        """The perplexity of an evaluation set."""
        return {f"{prefix}_perplexity": perplexity(metrics[f"{prefix}_loss"])} if f"{prefix}_loss" in metrics else {}
