"""One side of the data benchmark, in a process of its own: `hone` or `llamafactory`; prints one line of JSON.

The clock runs from the tokenizer being there to the set being ready to train on: reading, tokenising, storing.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CUTOFF = 2048


def main() -> None:
    """Prepare the set `rows` of a folder and say how long it took."""
    who, model, folder, workers, compare = sys.argv[1:6]
    made = {"hone": hone, "llamafactory": llamafactory}[who](model, Path(folder), int(workers))
    examples = made.pop("examples")
    if compare == "ids":
        made["ids"] = hash_of(examples)
    print(json.dumps(made))


def hone(model: str, folder: Path, workers: int) -> dict[str, Any]:
    """This repository's."""
    from transformers import AutoTokenizer

    from hone.data.prepare import prepare
    from hone.dialogue.encoder import Encoder, fix_tokenizer
    from hone.dialogue.template import load_template
    from hone.recipe import FinetuningSection, settle
    from hone.stages.sft import Stage

    words = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": model,
        "dataset": "rows",
        "dataset_dir": str(folder),
    }
    recipe = settle(
        {
            **words,
            "template": "chatml",
            "cutoff_len": CUTOFF,
            "preprocessing_num_workers": workers,
            "output_dir": "out",
        },
        verb="train",
    )
    template = load_template("chatml")
    tokenizer = AutoTokenizer.from_pretrained(model)
    fix_tokenizer(tokenizer, template)
    assert isinstance(recipe.finetuning, FinetuningSection)
    stage, encoder = Stage(recipe.finetuning), Encoder(template, tokenizer)
    before, worked, start = _memory(), processor_seconds(), time.perf_counter()
    prepared = prepare(recipe.data, stage, encoder, seed=1, cache_dir=folder / "cache")
    seconds, worked = time.perf_counter() - start, processor_seconds() - worked
    assert prepared.train is not None
    numbers = ((one.input_ids, one.labels) for one in prepared.train)
    return {
        "seconds": seconds,
        "rows": len(prepared.train),
        "before": before,
        "processor": worked,
        **_peaks(),
        "examples": numbers,
    }


def llamafactory(model: str, folder: Path, workers: int) -> dict[str, Any]:
    """The peer's."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    words = {"stage": "sft", "do_train": True, "finetuning_type": "lora", "dataset": "rows", "template": "chatml"}
    places = {"model_name_or_path": model, "dataset_dir": str(folder), "output_dir": str(folder / "out")}
    rest = {"cutoff_len": CUTOFF, "preprocessing_num_workers": workers, "report_to": "none"}
    model_args, data_args, training_args, *_ = get_train_args({**words, **places, **rest})
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
    before, worked, start = _memory(), processor_seconds(), time.perf_counter()
    prepared = get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded)["train_dataset"]
    seconds, worked = time.perf_counter() - start, processor_seconds() - worked
    numbers = ((one["input_ids"], one["labels"]) for one in prepared)
    return {
        "seconds": seconds,
        "rows": len(prepared),
        "before": before,
        "processor": worked,
        **_peaks(),
        "examples": numbers,
    }


def processor_seconds() -> float:
    """Seconds of processor time, of this process and of its workers that have ended."""
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _peaks() -> dict[str, float]:
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"peak": _memory(), "worker_peak": children}


def hash_of(examples: Iterable[tuple[Any, Any]]) -> str:
    import numpy as np

    whole = hashlib.sha256()
    for ids, labels in examples:
        whole.update(np.asarray(ids, dtype="<i4").tobytes() + b"|" + np.asarray(labels, dtype="<i4").tobytes())
    return whole.hexdigest()[:16]


if __name__ == "__main__":
    main()
