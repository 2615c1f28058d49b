"""The layers a tuner can name: which there are, which fit a name, and what `all` means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from hone.errors import Fault, ModelError
from hone.models.parts import stands_still

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection

QUANTIZED = frozenset(
    {"HQQLinear", "EetqLinear", "QuantizedLinear", "QuantLinear", "TorchQuantLinear", "WQLinear_GEMM"}
)
"""Linear layers of quantising libraries that are none of torch's."""


def targets(model: Any, wanted: Sequence[str], finetuning: FinetuningSection, key: str) -> list[str]:
    """The layers that get an adapter: those named, or for `all` every linear layer; of the parts that may learn alone.

    Raises ModelError for names that fit no layer, or none that may learn.
    """
    still = stands_still(model, finetuning)
    if not wanted or "all" in wanted:
        return all_linear(model, still=still)
    known = set(module_names(model, adaptable=True))
    check_names(wanted, known, key)
    reached = {name: {layer for layer in known if layer == name or layer.endswith("." + name)} for name in wanted}
    kept = {name: {layer for layer in layers if not still(layer)} for name, layers in reached.items()}
    hint = "leave it out, or set freeze_vision_tower, freeze_multi_modal_projector or freeze_language_model to false"
    ModelError.all_of(
        Fault("TUNER-TARGET", f"every layer called {name!r} lies in a part that does not learn", key, hint)
        for name, layers in kept.items()
        if not layers
    )
    return list(wanted) if kept == reached else sorted(set().union(*kept.values()))


def all_linear(model: Any, *, still: Callable[[str], bool] | None = None) -> list[str]:
    """Names for every linear layer but the head: the short ones (`q_proj`) where these mean no other layer as well.

    `still` says of a name whether it belongs to a part that is left out.
    """
    wanted = {
        name
        for name, module in linear_layers(model)
        if module is not model.get_output_embeddings() and not (still and still(name))
    }
    if not wanted:
        raise ModelError.one("TUNER-TARGET", "the model has no linear layers", "lora_target", "use full or freeze")
    short = sorted({name.rsplit(".", 1)[-1] for name in wanted})
    reached = {name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in short}
    return short if reached == wanted else sorted(wanted)


def linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """All linear layers with their names; GPT-2's transposed ones and quantised ones count too."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) or type(module).__name__ in QUANTIZED:
            yield name, module


def module_names(model: Any, *, adaptable: bool = False) -> Iterator[str]:
    """Names of modules that hold weights themselves; `adaptable` leaves those that a low-rank adapter can sit on."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.Embedding, nn.Conv2d, nn.Conv3d, Conv1D)
    for name, module in model.named_modules():
        fits = isinstance(module, kinds) or type(module).__name__ in QUANTIZED
        if fits if adaptable else any(True for _ in module.parameters(recurse=False)):
            yield name


def check_names(wanted: Sequence[str], known: Collection[str], key: str) -> None:
    """Raise ModelError for every wanted name that fits no module, with the names that would."""
    ends = sorted({name.rsplit(".", 1)[-1] for name in known})
    faults = []
    for name in wanted:
        if not any(module == name or module.endswith("." + name) for module in known):
            close = get_close_matches(name, ends, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            faults.append(
                Fault("TUNER-TARGET", f"no layer is called {name!r}", key, f"{hint}there are {', '.join(ends)}")
            )
    ModelError.all_of(faults)
