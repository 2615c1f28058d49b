"""NEFTune: noise on the embeddings while training, as large as each example's own length says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class EmbeddingNoise:
    """Uniform noise of at most alpha / sqrt(length x width) on what the embeddings answer, in training only.

    In a flattened batch each segment counts with its own length: an example gets the noise that it would get alone.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        self.alpha = alpha
        self._borders: Tensor | None = None
        self._embeddings = model.get_input_embeddings()
        model.register_forward_pre_hook(self._look, with_kwargs=True)
        self._embeddings.register_forward_hook(self._stir)

    def _look(self, _model: Any, _inputs: Any, given: Mapping[str, Any]) -> None:
        self._borders = given.get("cu_seq_lens_q")

    def _stir(self, module: Any, _inputs: Any, output: Tensor) -> Tensor | None:
        if not module.training or not torch.is_grad_enabled():
            return None
        lengths = self._lengths(output)
        bound = self.alpha / (lengths * output.shape[-1]).sqrt()
        noise = torch.empty_like(output, dtype=torch.float32).uniform_(-1, 1)
        return output + (noise * bound).to(output.dtype)

    def _lengths(self, output: Tensor) -> Tensor:
        """The length of each token's segment, [1 or rows, T, 1]."""
        count = output.shape[1]
        if self._borders is None or int(self._borders[-1]) != count:
            return torch.full((1, count, 1), float(count), device=output.device)
        sizes = self._borders.diff().float()
        return sizes.repeat_interleave(self._borders.diff().long()).view(1, count, 1)


def add_noise(model: Any, alpha: float | None) -> None:
    """Stir the embeddings of a model in training, from now on; nothing for None or 0."""
    if alpha:
        EmbeddingNoise(model, alpha)


def stirs(model: Any) -> bool:
    """Whether noise is added to this model's embeddings in training."""
    hooks = model.get_input_embeddings()._forward_hooks.values()
    return any(isinstance(getattr(hook, "__self__", None), EmbeddingNoise) for hook in hooks)
