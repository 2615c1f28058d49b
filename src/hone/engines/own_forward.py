"""The model's own forward with adapters: each row of a batch gets what its own adapter adds to each linear layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from hone.engines.lora import Lora
from hone.engines.mixing import Mix, Mixer


class OwnForward:
    """Hooks on the layers that any adapter names; they do nothing but inside `rows`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.mixer = Mixer(lambda lora: lora.factors)
        self.hooked: set[str] = set()
        self.seen: set[str] = set()
        """Layers that were computed since `rows` began."""
        self.mix: Mix | None = None
        self.tokens = 0

    def admit(self, lora: Lora) -> None:
        """From now on rows may have it."""
        self.mixer.admit(lora)
        for name in lora.factors:
            if name not in self.hooked:
                self.model.get_submodule(name).register_forward_hook(self._hook(name))
                self.hooked.add(name)

    def forget(self, lora: Lora) -> None:
        """Nothing of it is kept stacked."""
        self.mixer.forget(lora)

    @contextmanager
    def rows(self, loras: Sequence[Lora | None], each: int) -> Iterator[None]:
        """Inside, the model is given batches of so many rows with `each` tokens, and each row has this adapter or none.

        Raises RuntimeError where a layer is not given all tokens (experts) and rows have different adapters.
        """
        self.mix = self.mixer.mix([lora for lora in loras for _ in range(each)])
        self.tokens = len(loras) * each if self.mix is not None and self.mix.owners is not None else 0
        self.seen = set()
        try:
            yield
        finally:
            self.mix = None

    def _hook(self, name: str) -> Any:
        def add(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self.mix is None:
                return None
            flat = inputs[0].reshape(-1, inputs[0].shape[-1])
            if self.tokens and len(flat) != self.tokens:
                raise RuntimeError("a layer is not given all rows of the batch")
            self.seen.add(name)
            return self.mix.add(name, flat, output.reshape(-1, output.shape[-1])).view_as(output)

        return add
