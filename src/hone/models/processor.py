"""What a model's folder says of its image processor: the processor itself, and the numbers of all its parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.models.gguf import find_gguf
from hone.models.json_file import read_json
from hone.models.preflight import read_config
from hone.models.silence import quiet
from hone.models.source import find_source

if TYPE_CHECKING:
    from hone.recipe import ModelSection

IMAGES, WHOLE, FILMS = "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"
FILES = (IMAGES, WHOLE, FILMS)


@dataclass(frozen=True)
class Sighted:
    """A model's config, its image processor (None where it has none), and the numbers that both say: those of the
    processor, and under `image_processor` those of its part for pictures."""

    config: Mapping[str, Any]
    processor: Any
    numbers: Mapping[str, Any]


def load_processor(model: ModelSection) -> Sighted | None:
    """What the model sees with; None for a model of text alone. Raises ModelError for a processor that is broken."""
    folder = find_source(model).path
    if find_gguf(folder) is not None:
        return None
    config = read_config(folder)
    if "vision_config" not in config:
        return None
    files = [folder / name for name in (IMAGES, WHOLE) if (folder / name).is_file()]
    if not files:
        return Sighted(config, None, {})
    from transformers import AutoImageProcessor

    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, backend="pil")
    except Exception as reason:
        first = (str(reason) or type(reason).__name__).strip().splitlines()[0][:200]
        what = f"the image processor cannot be loaded ({first})"
        raise ModelError.one("MODEL-PROCESSOR", what, str(files[0]), "fetch the file of this model again") from reason
    inner = json.loads(processor.to_json_string())
    outer = read_json(folder / WHOLE) if (folder / WHOLE).is_file() else {}
    return Sighted(config, processor, {**outer, "image_processor": inner})


def copy_processor(model: ModelSection, folder: Path) -> None:
    """Put the processor's files beside weights that were written to `folder`, which are read with them."""
    here = find_source(model).path
    for name in FILES:
        if (here / name).is_file():
            shutil.copyfile(here / name, folder / name)
