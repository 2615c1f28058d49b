"""The weights of an export, each made when its turn comes: read, an adapter's share added, looked at, and let go."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError, NumericError
from hone.models.adapters import merged
from hone.models.safetensors_header import StoredTensor
from hone.models.shards import INDEX, SINGLE, read_weights

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 4 << 20
"""Bytes of a weight that are held at once where they are only handed on."""
ENOUGH = 4
"""Weights of a file that must lie in memory as they lie in the file before it counts as mapped there."""


@dataclass(frozen=True)
class Weights:
    """A model without adapters, and what its weights become on their way out.

    By a weight's address: `layers`, those whose adapter is still to be added to it; `stored`, where it lies in a mapped
    file. It is read from there, as pages that are touched in a mapping stay in memory.
    """

    model: Any
    layers: Mapping[int, Any] = field(default_factory=dict)
    stored: Mapping[int, StoredTensor] = field(default_factory=dict)

    def made(self, name: str, weight: Tensor) -> Tensor:
        """The weight as it goes out, adapter and all. Raises NumericError where it is no number."""
        place, layer = self._place(weight), self.layers.get(weight.data_ptr())
        found = weight.detach() if place is None else _read(place, weight)
        if layer is not None:
            found = _with_adapter(layer, found.clone() if place is None else found)
        refuse_broken_numbers(name, found)
        return found

    def pieces(self, name: str, weight: Tensor) -> Iterator[Tensor]:
        """The same, flat and on the CPU, in pieces that are small where nothing has to be added to it."""
        place = self._place(weight)
        if place is None or weight.data_ptr() in self.layers:
            yield self.made(name, weight).cpu().contiguous().view(-1)
            return
        with place.path.open("rb") as file:
            file.seek(place.start)
            for flat in weight.detach().view(-1).split(PIECE // weight.element_size()):
                piece = _filled(file, flat, place)
                refuse_broken_numbers(name, piece)
                yield piece

    def _place(self, weight: Tensor) -> StoredTensor | None:
        place = self.stored.get(weight.data_ptr())
        if place is None or place.shape != tuple(weight.shape) or place.stop - place.start != weight.nbytes:
            return None
        return place if weight.is_contiguous() else None


def weights_of(model: Any, source: Path | None) -> Weights:
    """The weights of a model with the adapter that it may wear. `source` is the folder that they were loaded from and
    are unchanged since.

    An adapter of a kind that cannot be added to one weight at a time is merged here, in memory.
    """
    layers: dict[int, Any] = {}
    if hasattr(model, "peft_config"):
        layers = _layers(model) if _takes_turns(model) else {}
        source = source if layers else None
        model = model.unload() if layers else merged(model)
    return Weights(model, layers, _stored(model, source))


def refuse_broken_numbers(name: str, weight: Tensor) -> None:
    """Raise NumericError naming a weight that is no number.

    A sum is a number only where all of its parts are, and takes no memory; one that is none may also be too large.
    """
    import torch

    if not weight.is_floating_point() or bool(weight.sum(dtype=torch.float32).isfinite()):
        return
    if not bool(weight.isfinite().all()):
        raise NumericError.one(
            "EXPORT-NAN", f"the weight {name} holds NaN or infinity", "",
            "use an earlier checkpoint, or infer_dtype: float32 where numbers are too large for the format",
        )  # fmt: skip


def _layers(wrapped: Any) -> dict[int, Any]:
    """The layers with an adapter, by the address of the weight below it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = [layer for layer in wrapped.modules() if isinstance(layer, BaseTunerLayer)]
    return {layer.get_base_layer().weight.data_ptr(): layer for layer in found}


def _takes_turns(wrapped: Any) -> bool:
    """Whether each adapter changes one weight alone, and weights are written as they lie in the model."""
    from peft.tuners.lora import layer as lora
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper
    from transformers import modeling_utils

    model = wrapped.get_base_model()
    if any(getattr(config, "bias", "none") != "none" for config in wrapped.peft_config.values()):
        return False  # biases were changed where they lie
    if getattr(model, "_weight_conversions", None) != [] or not hasattr(modeling_utils, "safe_save_file"):
        return False
    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    return not any(
        isinstance(module, AuxiliaryTrainingWrapper)
        or (
            isinstance(module, BaseTunerLayer)
            and (
                type(module) not in (lora.Linear, lora.Embedding)
                or any(module.lora_bias.values())
                or uses[id(module.get_base_layer().weight)] > 1
            )
        )
        for module in model.modules()
    )


def _with_adapter(layer: Any, values: Tensor) -> Tensor:
    """The layer's adapter added to its weight, whose `values` may be overwritten. The sum is made in float32 and
    rounded once; the layer stays as it was."""
    import torch

    weight = layer.get_base_layer().weight
    kept, half = weight.data, values.dtype in (torch.bfloat16, torch.float16)
    weight.data = values.float() if half else values
    try:
        layer.merge()
        return weight.data.to(kept.dtype)
    finally:
        weight.data = kept
        layer.merged_adapters.clear()


def _stored(model: Any, source: Path | None) -> dict[int, StoredTensor]:
    """Which weights are the mapped bytes of the folder's files: they lie as far apart in memory as there."""
    if source is None or not any((source / name).is_file() for name in (SINGLE, INDEX)):
        return {}
    listed, begins = read_weights(source), dict[Path, Counter[int]]()
    weights = {name: weight for name, weight in model.state_dict().items() if name in listed and weight.is_cpu}
    for name, weight in weights.items():
        place = listed[name]
        begins.setdefault(place.path, Counter())[weight.data_ptr() - place.start] += 1
    found = {}
    for name, weight in weights.items():
        begin, count = begins[listed[name].path].most_common(1)[0]
        mapped = count >= ENOUGH and begin % mmap.PAGESIZE == 0
        if mapped and weight.data_ptr() - listed[name].start == begin:
            found[weight.data_ptr()] = listed[name]
    return found


def _read(place: StoredTensor, weight: Tensor) -> Tensor:
    with place.path.open("rb") as file:
        file.seek(place.start)
        return _filled(file, weight, place)


def _filled(file: Any, like: Tensor, place: StoredTensor) -> Tensor:
    """The next bytes of the file as a tensor like the one given. Raises ModelError at the end of the file."""
    import torch

    made = torch.empty_like(like, requires_grad=False)
    raw = made.view(-1).view(torch.uint8).numpy()
    if file.readinto(raw) != len(raw):
        raise ModelError.one("SAFETENSORS-BAD", "the file became shorter while it was read", str(place.path))
    return made
