"""The proof that a block by hand answers as the plain one: values and slopes on nine tokens in two segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hone.models.speed.recognize import NotUnderstood, base_linear, groups

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.15}
"""The length of a difference that is rounding, as a share of the length of the value (both paths round, one by one)."""

Path = Callable[[Tensor, dict[str, Any]], Tensor | None]


def prove(layer: Any, plain: Callable[..., Tensor], quick: Path) -> None:
    """Raises NotUnderstood unless both paths agree. Parameters and random numbers are as before afterwards."""
    states, arguments = _probe(layer)
    learned = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    with _stirred(learned):
        expected = _answers(lambda x, given: plain(x, **given), states, arguments, learned)
        found = _answers(quick, states, arguments, learned)
    for wanted, got in zip(expected, found, strict=True):
        allowed = TOLERANCE.get(states.dtype, 0.0) * max(float(wanted.norm()), 1e-6)
        if not float((wanted - got).norm()) <= allowed:
            raise NotUnderstood("by hand it answered otherwise than the plain path")


def _probe(layer: Any) -> tuple[Tensor, dict[str, Any]]:
    """States [1, 9, H] of two segments, and the arguments that transformers would give."""
    weight = base_linear(groups(layer)[0][0]).weight
    maker = torch.Generator().manual_seed(0)
    states = torch.randn(1, 9, weight.shape[1], generator=maker).to(weight.dtype)
    angles = torch.rand(1, 9, layer.self_attn.head_dim // 2, generator=maker).repeat(1, 1, 2)
    borders = torch.tensor([0, 5, 9], dtype=torch.int32)
    tables = (angles.cos().to(weight.dtype), angles.sin().to(weight.dtype))
    packed = {"cu_seq_lens_q": borders, "cu_seq_lens_k": borders, "max_length_q": 5, "max_length_k": 5}
    return states, {"position_embeddings": tables, "attention_mask": None, "past_key_values": None, **packed}


@contextmanager
def _stirred(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """While this lasts the parameters hold random values: LoRA starts at zero, where a wrong answer would not show."""
    maker = torch.Generator().manual_seed(1)
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.data.copy_(torch.randn(parameter.shape, generator=maker) * parameter.shape[-1] ** -0.5)
        yield
    finally:
        for parameter, value in zip(parameters, before, strict=True):
            parameter.data.copy_(value)


def _answers(path: Path, states: Tensor, arguments: dict[str, Any], learned: Sequence[nn.Parameter]) -> list[Tensor]:
    """The block's answer and the slopes at its states and parameters, in float32."""
    with torch.enable_grad():
        source = states.clone().requires_grad_()
        answer = path(source, arguments)
        if answer is None:
            raise NotUnderstood("its LoRA is in a state that is not run by hand")
        seed = torch.linspace(-1, 1, answer.numel()).view(answer.shape).to(answer.dtype)
        slopes = torch.autograd.grad(answer, (source, *learned), seed)
    return [tensor.detach().float() for tensor in (answer, *slopes)]
