"""One side of the benchmark of pictures, in a process of its own; prints one line of JSON.

`decoding` only decodes each picture, `step` trains; `hone` and `llamafactory` prepare the rows, with one worker each.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preprocess_side import hash_of, processor_seconds

CUTOFF = 2048
TURNS = 3
"""Steps of each kind, in turns; the middle one counts."""


def main() -> None:
    """Do what was asked in a folder with rows, pictures and a model."""
    who, folder = sys.argv[1], Path(sys.argv[2])
    print(json.dumps({"decoding": decoding, "hone": hone, "llamafactory": llamafactory, "step": step}[who](folder)))


def decoding(folder: Path) -> dict[str, Any]:
    """Every picture opened and made RGB."""
    from PIL import Image

    files = sorted(folder.glob("*.jpg"))

    def made() -> Any:
        for file in files:
            Image.open(file).convert("RGB")
        return ()

    return _timed(made)


def hone(folder: Path) -> dict[str, Any]:
    """This repository's."""
    from hone.data.prepare import prepare

    recipe, encoding = _encoding(folder)
    cache = folder / "hone" / "cache"

    def made() -> Any:
        train = prepare(recipe.data, encoding.stage, encoding.encoder, seed=1, cache_dir=cache, quiet=True).train
        assert train is not None
        return ((one.input_ids, one.labels) for one in train)

    return _timed(made)


def llamafactory(folder: Path) -> dict[str, Any]:
    """The peer's."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    words = {"stage": "sft", "do_train": True, "finetuning_type": "lora", "dataset": "rows", "template": "llava"}
    places = {"model_name_or_path": str(folder / "model"), "dataset_dir": str(folder), "media_dir": str(folder)}
    rest = {"cutoff_len": CUTOFF, "output_dir": str(folder / "llamafactory" / "out"), "report_to": "none"}
    model_args, data_args, training_args, *_ = get_train_args({**words, **places, **rest})
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)

    def made() -> Any:
        train = get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded)["train_dataset"]
        return ((one["input_ids"], one["labels"]) for one in train)

    return _timed(made)


def step(folder: Path) -> dict[str, Any]:
    """Forward and backward, LoRA on all linear layers, the tower standing still: a row with a picture and four
    without; the same rows with an ordinary word at each place of a picture's; and those padded to the longest."""
    import torch

    from hone.models.attention import use_packed_attention
    from hone.models.load import load_model
    from hone.models.speed.quicken import quicken
    from hone.models.tuners import attach

    recipe, encoding = _encoding(folder)
    stage = encoding.stage
    torch.manual_seed(0)
    model = load_model(recipe.model, dtype=torch.float32, device=torch.device("cpu"))
    model = attach(model, recipe.finetuning, recipe.model, training=True).train()
    use_packed_attention(model)
    blocks = quicken(model).blocks
    batches = {name: stage.collate(rows) for name, rows in _batches(folder, recipe, encoding).items()}
    seconds: dict[str, list[float]] = {name: [] for name in (*batches, "tower")}
    pixels = batches["mixed"]["pixel_values"]
    for turn in range(TURNS + 1):
        for name, batch in batches.items():
            start = time.perf_counter()
            stage.loss(model, batch).total.backward()
            seconds[name].append(time.perf_counter() - start)
            model.zero_grad(set_to_none=True)
        start = time.perf_counter()
        with torch.no_grad():
            model.get_image_features(pixel_values=pixels)
        seconds["tower"].append(time.perf_counter() - start)
        if turn == 0:
            seconds = {name: [] for name in seconds}
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    tokens = {name: batch["input_ids"].shape[1] for name, batch in batches.items()}
    lines = [f"{name}: {middle[name]:.2f} s, {tokens.get(name, 0):,} tokens" for name in middle]
    share = (middle["mixed"] - middle["tower"]) / middle["words"]
    told = f"{blocks} blocks by hand; {'; '.join(lines)}; mixed less its tower over words: {share:.2f}"
    return {"told": told}


def _batches(folder: Path, recipe: Any, encoding: Any) -> dict[str, Any]:
    import numpy as np

    from hone.data.prepare import prepare
    from hone.dialogue.example import IGNORED, Example

    image = encoding.encoder.viewer.ids[0]
    cache = folder / "cache"
    train = prepare(recipe.data, encoding.stage, encoding.encoder, seed=1, cache_dir=cache, quiet=True).train
    assert train is not None

    def blind(one: Example) -> Example:
        ids = np.where(one.input_ids == image, one.input_ids[-1], one.input_ids)
        return Example(ids, one.labels)

    def text(one: Example) -> Example:
        return Example(one.input_ids[one.input_ids != image], one.labels[one.input_ids != image])

    def padded(one: Example, length: int) -> Example:
        more = length - len(one.input_ids)
        return Example(np.pad(one.input_ids, (0, more)), np.pad(one.labels, (0, more), constant_values=IGNORED))

    mixed = [train[0], *(text(train[number]) for number in range(1, 5))]
    words = [blind(one) for one in mixed]
    widest = max(len(one.input_ids) for one in words)
    return {"mixed": mixed, "words": words, "padded": [padded(one, widest) for one in words]}


def _encoding(folder: Path) -> tuple[Any, Any]:
    from hone.recipe import settle
    from hone.runs.encoding import encoding_of

    given = {
        "stage": "sft", "do_train": True, "model_name_or_path": str(folder / "model"), "template": "llava",
        "dataset": "rows", "dataset_dir": str(folder), "media_dir": str(folder), "cutoff_len": CUTOFF,
        "preprocessing_num_workers": 1, "output_dir": str(folder / "out"),
    }  # fmt: skip
    recipe = settle(given, verb="train")
    return recipe, encoding_of(recipe)


def _timed(act: Callable[[], Any]) -> dict[str, Any]:
    worked, start = processor_seconds(), time.perf_counter()
    examples = act()
    seconds, worked = time.perf_counter() - start, processor_seconds() - worked
    held = list(examples)
    tokens = sum(len(ids) for ids, _ in held)
    return {"seconds": seconds, "processor": worked, "tokens": tokens, "ids": hash_of(held)}


if __name__ == "__main__":
    main()
