"""Loading a base model: checked first, mapped from disk rather than copied, complete or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hone.errors import Fault, ModelError
from hone.log import warn
from hone.models.experts import watch_balance
from hone.models.gguf import find_gguf, folder_for_a_while, load_gguf_model
from hone.models.preflight import check_folder, read_config
from hone.models.quantization import quantizing_options, steady
from hone.models.shape import Shape, shape_of
from hone.models.silence import quiet
from hone.models.source import find_source

if TYPE_CHECKING:
    from hone.recipe import ModelSection, QuantizationSection

ATTENTION = {"disabled": "eager", "sdpa": "sdpa", "fa2": "flash_attention_2", "fa3": "flash_attention_3"}


def load_model(
    model: ModelSection,
    quantization: QuantizationSection | None = None,
    *,
    dtype: torch.dtype,
    device: torch.device,
    reach: int | None = None,
    training: bool = False,
) -> Any:
    """The base model on the device with weights in dtype, as a PreTrainedModel without any tuner, in eval mode.

    The source is a Hugging Face folder, a repository of a hub, or a GGUF file, whose weights become ordinary floats.
    `reach` is the longest sequence in tokens that a training brings.
    Raises ModelError before anything large is allocated when the files are broken, incomplete, pickled or hold code.
    """
    shape = shape_of(model, reach=reach, training=training)
    source = find_source(model)
    gguf = find_gguf(source.path)
    options = _options(model, dtype, device)
    fewer_bits = quantization is not None and quantization.quantization_bit is not None
    with quiet():
        if gguf is not None and not fewer_bits and not shape.wishes:
            return load_gguf_model(gguf, **options).to(device)
        with folder_for_a_while(source.path) as folder:
            check_folder(folder, trust_code=model.trust_remote_code, fetched=source.fetched)
            plain = read_config(folder)
            options |= quantizing_options(quantization, plain, dtype=dtype, device=device, training=shape.training)
            options["trust_remote_code"] = model.trust_remote_code
            return steady(_load_folder(folder, options, shape), training=training)


def _options(model: ModelSection, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    options: dict[str, Any] = {"dtype": dtype}
    attention = _attention(model.flash_attn)
    if attention:
        options["attn_implementation"] = attention
    if device.type != "cpu":
        options["device_map"] = {"": device}
    return options


def _attention(wish: str) -> str | None:
    """The library's name for a wish; a wish whose package is missing is dropped with a sentence."""
    if wish == "auto":
        return None
    from transformers.utils import import_utils

    here = {"fa2": "is_flash_attn_2_available", "fa3": "is_flash_attn_3_available"}
    if wish in here and not getattr(import_utils, here[wish])():
        warn(f"flash_attn: {wish} is not installed here; the default attention is used")
        return None
    return ATTENTION[wish]


def _load_folder(folder: Path, options: Mapping[str, Any], shape: Shape) -> Any:
    from transformers import AutoConfig

    if shape.wishes:
        trust = options["trust_remote_code"]
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust)
        shape.apply(config)
        options = {**options, "config": config}
    if shape.at_random:
        return _at_random(options, shape)
    try:
        model, report = _read(folder, options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as reason:
        lines = [line.strip() for line in str(reason).splitlines() if line.strip()]
        raise ModelError.one(
            "MODEL-LOAD", f"the model cannot be loaded ({'; '.join(lines[:3])[:400] or type(reason).__name__})",
            str(folder), "see whether config.json and the weights belong together",
        ) from reason  # fmt: skip
    ModelError.all_of(_incomplete(report, folder))
    unused = sorted(report["unexpected_keys"])
    if unused:
        warn(f"{len(unused)} tensors of {folder} have no place in the model and are not used ({', '.join(unused[:3])})")
    return _watched(model, shape).eval()


def _read(folder: Path, options: Mapping[str, Any]) -> Any:
    """The model and the library's report. An architecture that computes with rows of numbers and with what is on the
    meta device at once is read in the library's own way."""
    read = partial(
        auto_class(read_config(folder)).from_pretrained, str(folder), local_files_only=True, use_safetensors=True,
        output_loading_info=True, ignore_mismatched_sizes=True, **options,  # mismatches are told later, by name
    )  # fmt: skip
    if "device_map" in options:
        return read()
    try:
        with _without_references():
            return read()
    except (RuntimeError, NotImplementedError) as reason:
        if "meta" not in str(reason):
            raise
        return read()


@contextmanager
def _without_references() -> Iterator[None]:
    """Meanwhile an embedding on the meta device draws no first values, as nothing is held there, and rows of numbers
    (rotary frequencies are made of them) are on the CPU: torch would bring in its reference implementations and sympy
    for either, half a second."""
    draw, count = torch.nn.Embedding.reset_parameters, torch.arange
    with torch.device("cpu"):  # on its first use torch lists, for good, what makes tensors: not what stands in for it
        torch.empty(0)

    def unless_empty(embedding: torch.nn.Embedding) -> None:
        if not embedding.weight.is_meta:
            draw(embedding)

    def held(*given: Any, device: Any = None, **named: Any) -> torch.Tensor:
        here = "cpu" if device is None and torch.get_default_device().type == "meta" else device
        return count(*given, device=here, **named)

    torch.nn.Embedding.reset_parameters = unless_empty  # type: ignore[method-assign]
    torch.arange = held
    try:
        yield
    finally:
        torch.nn.Embedding.reset_parameters = draw  # type: ignore[method-assign]
        torch.arange = count


def auto_class(config: Mapping[str, Any]) -> Any:
    """The library's class for a config: of a model that continues text, or of one that sees as well."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto import modeling_auto

    kind = config.get("model_type")
    text = kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    sees = kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return AutoModelForImageTextToText if sees and not text else AutoModelForCausalLM


def _watched(model: Any, shape: Shape) -> Any:
    if shape.balance:
        watch_balance(model)
    return model


def _at_random(options: Mapping[str, Any], shape: Shape) -> Any:
    """A model of this shape with weights as nobody has trained them."""
    place = options.get("device_map", {}).get("", "cpu")
    kept = {name: options[name] for name in ("dtype", "attn_implementation", "trust_remote_code") if name in options}
    return (
        _watched(auto_class({"model_type": options["config"].model_type}).from_config(options["config"], **kept), shape)
        .to(place)
        .eval()
    )


def _incomplete(report: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    """Weights that the file lacks or shapes otherwise: the library would fill them with noise and go on."""
    fix = "the folder's config and weights do not belong together; fetch the model again"
    missing = sorted(report["missing_keys"])
    if missing:
        names = ", ".join(missing[:3])
        yield Fault("MODEL-INCOMPLETE", f"the weights lack {len(missing)} tensors ({names} ...)", str(folder), fix)
    for name, *shapes in sorted(report["mismatched_keys"])[:3]:
        found, wanted = (tuple(shape) for shape in shapes)
        yield Fault(
            "MODEL-MISMATCH", f"the tensor {name} has shape {found}, the config says {wanted}", str(folder), fix
        )
