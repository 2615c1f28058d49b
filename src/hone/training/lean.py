"""The names taken from transformers' trainer, imported without dragging in the libraries that Hone does not use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hone.imports import lighten

lighten()

import transformers.utils  # noqa: E402  after what it will be given
from transformers.utils import import_utils  # noqa: E402


@contextmanager
def _without_datasets() -> Iterator[None]:
    """The trainer imports `datasets` (and with it pandas and pyarrow: half a second) only to know its classes."""
    answer = import_utils.is_datasets_available
    for module in (import_utils, transformers.utils):
        module.is_datasets_available = lambda: False
    try:
        yield
    finally:
        for module in (import_utils, transformers.utils):
            module.is_datasets_available = answer


with _without_datasets():
    from transformers.trainer import Trainer
    from transformers.trainer_callback import PrinterCallback, TrainerCallback, TrainerState
    from transformers.trainer_utils import EvalLoopOutput, TrainOutput, set_seed
    from transformers.training_args_seq2seq import Seq2SeqTrainingArguments

__all__ = [
    "EvalLoopOutput",
    "PrinterCallback",
    "Seq2SeqTrainingArguments",
    "TrainOutput",
    "Trainer",
    "TrainerCallback",
    "TrainerState",
    "set_seed",
]
