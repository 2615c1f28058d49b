"""The names taken from transformers' trainer, imported without dragging in the libraries that Hone does not use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hone.imports import absent, alone, keep_structures, let_torch_sleep

keep_structures()
let_torch_sleep()

import accelerate.utils.other  # noqa: E402  after what they will be given
import transformers.utils  # noqa: E402
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


def _without_sharding() -> None:
    """A process that is alone holds no tensor in shards, and the library need not import what makes them."""
    if alone():
        for module in (import_utils, transformers.utils, accelerate.utils.other):
            module.is_torch_distributed_available = lambda: False


_without_sharding()
with _without_datasets(), absent("bitsandbytes"):  # PEFT imports it to know its classes
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
