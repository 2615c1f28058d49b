"""What tuners with adapters share: those given are merged in order, the last is kept or learns on, or a new one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.log import warn
from hone.models.adapters import load_adapter, locate_adapter, merge_adapter
from hone.models.quantization import is_quantized
from hone.models.targets import check_names, module_names
from hone.models.vocabulary import grows

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection, ModelSection


def layered(
    model: Any,
    finetuning: FinetuningSection,
    section: ModelSection,
    *,
    training: bool,
    merge: bool,
    new: Callable[[Any], Any],
) -> Any:
    """The model with its adapters; `new` makes a fresh one.

    Training: all given adapters but the last are merged in order and the last goes on learning; with
    create_new_adapter, or none given, a fresh one learns. Otherwise all are merged, or with `merge=False` all but the
    last. Quantised weights take one adapter, which stays beside them. Raises ModelError for what does not fit.
    """
    adapters = [locate_adapter(name, section) for name in section.adapter_name_or_path]
    fresh = training and (finetuning.create_new_adapter or not adapters)
    if is_quantized(model):
        merge = False
        if len(adapters) > 1 or (adapters and fresh):
            raise ModelError.one(
                "ADAPTER-QUANTIZED", "adapters cannot be merged into quantised weights", "adapter_name_or_path",
                "give one adapter; or merge them into the original weights with hone export first",
            )  # fmt: skip
    kept = adapters[-1:] if (training and not fresh) or not (training or merge) else []
    for folder in adapters[: len(adapters) - len(kept)]:
        model = merge_adapter(model, folder, section)
    for folder in kept:
        model = load_adapter(model, folder, section, training=training)
    return new(model) if fresh else model


def wrapped(model: Any, config: Any) -> Any:
    """The model in PEFT's hands, without its warnings about what is meant here."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, config)


def whole_modules(model: Any, finetuning: FinetuningSection, section: ModelSection) -> list[str]:
    """Modules that learn whole beside the adapter: those named, or the embeddings when the vocabulary grows."""
    named = list(finetuning.additional_target)
    check_names(named, set(module_names(model)), "additional_target")
    if named or not grows(section):
        return named
    ends = [end for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None]
    # One name is enough for tied ones: the copy that learns is one, too.
    ends = ends[:1] if tied(model) else ends
    found = list({name.rsplit(".", 1)[-1]: None for name, m in model.named_modules() if any(m is end for end in ends)})
    warn(f"the vocabulary grows: {' and '.join(found)} learn whole (additional_target)")
    return found


def tied(model: Any) -> bool:
    """Whether the embeddings and the head are one matrix."""
    return bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))


def stays_tied(model: Any, saved: Collection[str]) -> bool:
    """Whether a trained copy of the embeddings must stay one with the head's."""
    if not saved or not tied(model):
        return False
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if any(module is end for end in ends)}
    return bool(names & {name.rsplit(".", 1)[-1] for name in saved})


def within(names: Sequence[str], blocks: Sequence[str], model: Any) -> list[str]:
    """The full names of those modules, by their ends, that lie in these blocks."""
    ends = tuple(names)
    return [
        name
        for name, _ in model.named_modules()
        if any(name.startswith(f"{block}.") for block in blocks)
        and any(name == end or name.endswith(f".{end}") for end in ends)
    ]
