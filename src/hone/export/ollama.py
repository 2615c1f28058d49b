"""A GGUF file for Ollama: the Modelfile beside it, and the two commands that bring it there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hone.dialogue.compile.go import modelfile
from hone.dialogue.template import Template
from hone.log import result

FILE = "Modelfile"


def write_modelfile(place: Path, template: Template, tokenizer: Any, *, weights: str, context: int) -> None:
    """Write it: template with tools and thoughts where Go can say them, system text, stops. Raises ModelError for a
    card that cannot be written so."""
    text = modelfile(template, bos=tokenizer.bos_token or "", eos=tokenizer.eos_token or "", context=context)
    text = text.replace("\nFROM .\n", f"\nFROM ./{weights}\n", 1)
    (place / FILE).write_text(text, encoding="utf-8", newline="\n")


def commands(folder: Path) -> tuple[str, str]:
    """How the model gets into Ollama and is asked there."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-.") or "tuned"
    return f"ollama create {name} -f {folder / FILE}", f"ollama run {name}"


def tell(folder: Path) -> None:
    """Print the two commands."""
    result("\n".join(commands(folder)))
