"""`hone expand`: a model with more blocks, which answers as before; the new ones are what use_llama_pro trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hone.errors import RecipeError
from hone.log import say

USAGE = "hone expand MODEL FOLDER --blocks N"


def run(words: Sequence[str]) -> int:
    """The verb: the model's folder or hub name, where to write, how many blocks to add."""
    source, folder, blocks = _read(list(words))
    from hone.models.expansion import expand
    from hone.models.source import find_source
    from hone.recipe import ModelSection

    before, after = expand(find_source(ModelSection(model_name_or_path=source)).path, folder, blocks)
    say(f"{folder}: {after} blocks instead of {before}; train the new ones with")
    say(f"  use_llama_pro: true, finetuning_type: freeze (or lora), freeze_trainable_layers: {blocks}")
    return 0


def _read(words: list[str]) -> tuple[str, Path, int]:
    if len(words) != 4 or words[2] != "--blocks" or not words[3].isdecimal():
        raise RecipeError.one("USAGE", "a model, a folder and a number of blocks are needed", "", USAGE)
    folder = Path(words[1])
    if folder.exists() and any(folder.iterdir()):
        raise RecipeError.one("OUTPUT-DIR", "the folder is not empty", str(folder), "name a new folder")
    return words[0], folder, int(words[3])
