"""An adapter that adds nothing, for those who ask for the model alone.

vLLM for processors (0.32) gives a request without an adapter the numbers of whichever adapter stands in its last place
when they share a batch (vllm-project/vllm pull request 48421). With this one no request is without.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hone.models.adapters import CONFIG, WEIGHTS


class Neutral:
    """Its folder, for as long as this object lives."""

    def __init__(self, model: Any) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="hone-neutral-")
        self.folder = Path(self._place.name)
        _write(model, self.folder)


def _write(model: Any, folder: Path) -> None:
    """Factors of zeros beside the first linear layer of the language model."""
    import torch
    from safetensors.torch import save_file

    linear = (one for one in model.get_decoder().modules() if isinstance(one, torch.nn.Linear))
    layer = next(linear)
    (name,) = [name for name, one in model.named_modules() if one is layer]
    factors = {"lora_A": torch.zeros(1, layer.in_features), "lora_B": torch.zeros(layer.out_features, 1)}
    save_file({f"base_model.model.{name}.{half}.weight": one for half, one in factors.items()}, folder / WEIGHTS)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 1, "target_modules": [name]}
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")
