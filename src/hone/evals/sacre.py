"""The way to sacrebleu, which is an extra."""

from __future__ import annotations

import importlib
from typing import Any

from hone.errors import MachineError


def sacrebleu() -> Any:
    """Its module of metrics. Raises MachineError where it is not installed."""
    try:
        return importlib.import_module("sacrebleu.metrics")
    except ImportError:
        raise MachineError.one(
            "PACKAGE", "corpus BLEU and chrF need sacrebleu", "predict_metrics", "pip install 'hone-llm[metrics]'"
        ) from None
