"""A merged model as a Hugging Face folder: weights, config, and what the vendor wrote beside them as he wrote it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hone.errors import ModelError
from hone.export.safetensors_file import one_at_a_time
from hone.export.weights import Weights
from hone.models.json_file import read_json
from hone.models.processor import FILES as PROCESSOR
from hone.models.save import save_model
from hone.rundir import write_json

GENERATION, TEMPLATE = "generation_config.json", "chat_template.jinja"
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", TEMPLATE, "chat_template.json",
)  # fmt: skip


def model_bytes(model: Any) -> int:
    """What the weights take on the disk; tied ones lie there once."""
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def write_folder(weights: Weights, place: Path, *, source: Path, shard_gigabytes: int) -> None:
    """Weights and config of the model; the generation config and the image processor are the vendor's, if any. Raises
    NumericError for a weight that is no number."""
    with one_at_a_time(weights):
        save_model(weights.model, None, place, shard_gigabytes=shard_gigabytes)
    for name in (GENERATION, *PROCESSOR):
        if (source / name).is_file():
            shutil.copyfile(source / name, place / name)


def write_tokenizer(tokenizer: Any, place: Path, *, source: Path, same: bool, vendor: Any, template: Any) -> None:
    """The tokenizer: the vendor's own files where it is the `same`, else as it is now; with the chat template that is
    given where that is not the vendor's. Raises ModelError when it cannot be written."""
    if same and (source / "tokenizer.json").is_file():
        for name in TOKENIZER:
            if (source / name).is_file():
                shutil.copyfile(source / name, place / name)
        if template and template != vendor:
            _write_template(place, template)
        return
    tokenizer.chat_template = template
    try:
        tokenizer.save_pretrained(place)
    except OSError:
        raise
    except Exception as reason:
        raise ModelError.one("EXPORT-TOKENIZER", f"the tokenizer cannot be saved ({reason})", str(source)) from None


def _write_template(place: Path, template: str) -> None:
    """The one chat template of the folder: the vendor's may stand in three places."""
    (place / "chat_template.json").unlink(missing_ok=True)
    (place / TEMPLATE).write_text(template, encoding="utf-8", newline="\n")
    config = place / "tokenizer_config.json"
    said = read_json(config) if config.is_file() else {}
    if said.pop("chat_template", None) is not None:
        write_json(config, said)
