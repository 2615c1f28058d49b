"""The value head: one number for a sequence, made of a hidden state; its file lies beside the adapter or weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hone.errors import ModelError
from hone.models.label_states import end_states, unwrapped

FILE = "value_head.safetensors"
NAME = "v_head"
"""The name of the module on a model, and of the tensors in the file, as the field has it."""
DROPOUT = 0.1
"""Share of a hidden state that the head is not shown in training, as the field's value heads have it."""
MULTIPLE = 8
"""What the field's batches of pairs are rounded up to."""


class ValueHead(nn.Module):
    """hidden [..., H] → values [...]: a linear layer in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dropout = DROPOUT
        self.summary = nn.Linear(width, 1, dtype=torch.float32)

    def forward(self, hidden: Tensor) -> Tensor:
        """The values, float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.summary(hidden.to(self.summary.weight.dtype))[..., 0]  # type: ignore[no-any-return]


def add_value_head(model: Any, folder: Path | None) -> None:
    """Give the model a value head: the one in `folder` where its file lies there, else a new one.

    It becomes part of what learns and of what is saved. Raises ModelError for a file that does not fit.
    """
    width = int(model.config.get_text_config().hidden_size)
    head = ValueHead(width).to(next(model.parameters()).device)
    model.add_module(NAME, head)
    if folder is not None and (folder / FILE).is_file():
        load_value_head(model, folder)


def value_head(model: nn.Module) -> ValueHead | None:
    """The model's value head, if it has one."""
    head = unwrapped(model)._modules.get(NAME)
    return head if isinstance(head, ValueHead) else None


def segment_values(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """The value at the last token of every segment of a flattened batch [S], with grad. In training some of each
    hidden state is dropped."""
    head = value_head(model)
    assert head is not None, "the model has no value head"
    states = end_states(model, batch)
    if head.training and head.dropout:
        states = states * _shown(batch["cu_seqlens"], states, head.dropout).to(states.dtype)
    values: Tensor = head(states)
    return values


def _shown(cu_seqlens: Tensor, states: Tensor, dropout: float) -> Tensor:
    """[S, H]: 0 where dropped, else 1 / (1 - dropout).

    On a processor it is drawn as for pairs in padded rows, better answers first, and the last tokens' part is taken:
    so a run with the same seed drops what the recorded runs of the conformance corpus dropped.
    """
    keep = 1 - dropout
    if states.device.type != "cpu" or len(states) % 2:
        return torch.empty_like(states).bernoulli_(keep) / keep
    lengths = cu_seqlens.diff().long()
    longest = -(-int(lengths.max()) // MULTIPLE) * MULTIPLE
    drawn = torch.empty(len(states), longest, states.shape[-1], dtype=torch.int32).bernoulli_(keep)
    rows = torch.arange(len(states)).view(2, -1).T.reshape(-1)
    return drawn[rows, lengths - 1] / keep


def save_value_head(head: ValueHead, folder: Path) -> None:
    """Write the head's file."""
    from safetensors.torch import save_file

    tensors = {f"{NAME}.{name}": tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(tensors, folder / FILE, metadata={"format": "pt"})


def load_value_head(model: nn.Module, folder: Path) -> None:
    """Put the numbers of the head's file into the model's. Raises ModelError when it is missing or does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    head, file = value_head(model), folder / FILE
    assert head is not None, "the model has no value head"
    fix = "name the folder of a reward model of this base, or fetch it again"
    try:
        tensors = {name.removeprefix(f"{NAME}."): tensor for name, tensor in load_file(file).items()}
        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                raise ModelError.one("VALUE-HEAD", f"the tensor {name} holds NaN or infinity", str(file), fix)
        head.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (OSError, SafetensorError, RuntimeError) as reason:
        what = f"the value head cannot be used ({str(reason).splitlines()[0]})"
        raise ModelError.one("VALUE-HEAD", what, str(file), fix) from None
