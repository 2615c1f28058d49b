"""`hone export`: adapters merged, the model written whole, and held against the one that was tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError, RecipeError
from hone.log import say, warn
from hone.recipe import Recipe, read_recipe
from hone.rundir import RunCard, read_card, write_card

if TYPE_CHECKING:
    from hone.dialogue.encoder import Encoder

GGUF = "model.gguf"


def run(words: Sequence[str]) -> int:
    """Read the recipe, merge, write, compare. Returns the exit code."""
    recipe = read_recipe([{"--check": "--export_check"}.get(word, word) for word in words], verb="export")
    if not recipe.export.export_dir:
        raise RecipeError.one("CFG-MISSING", "export_dir", "", "name the folder that receives the model")
    export(recipe, Path(recipe.export.export_dir).expanduser())
    return 0


def export(recipe: Recipe, target: Path) -> None:
    """Write the model that the recipe names into a new folder. Raises ModelError, RecipeError, MachineError."""
    from hone.export import fidelity, folder, gguf_file, ollama
    from hone.export.place import check_place, drafted
    from hone.models.adapters import locate_adapter, merged
    from hone.models.quantization import is_quantized
    from hone.models.source import find_source
    from hone.models.tokenizer import load_tokenizer
    from hone.runs.exported import chat_template, compare_folder, witness_of

    wish = recipe.export
    source = find_source(recipe.model).path
    adapters = [locate_adapter(name, recipe.model) for name in recipe.model.adapter_name_or_path]
    check_place(target, [source, *adapters])
    if wish.export_format == "gguf-lora":
        _adapter_alone(adapters, source, target)
        return
    tokenizer = load_tokenizer(recipe.model)
    plain, vendor = _marks(tokenizer), tokenizer.chat_template
    encoder, card = _encoder(recipe, tokenizer, source)
    model = _model(recipe, source, tokenizer)
    if is_quantized(model):
        raise ModelError.one(
            "EXPORT-QUANTIZED", "an adapter on quantised weights is not merged yet", "quantization_bit",
            "export the adapter alone (export_format: gguf-lora), or serve it on its base",
        )  # fmt: skip
    _tell_what_stays(adapters, recipe)
    witness = witness_of(recipe, model, encoder)
    if hasattr(model, "peft_config"):
        model = merged(model)
    folder.refuse_broken_numbers(model)
    template, faithful = chat_template(encoder, tokenizer, vendor)
    as_folder = wish.export_format == "safetensors"
    size = folder.model_bytes(model) if as_folder else gguf_file.gguf_bytes(model, wish.export_gguf_type)
    with drafted(target, size) as place:
        if as_folder:
            folder.write_folder(model, place, source=source, shard_gigabytes=wish.export_size)
            same = plain == _marks(tokenizer)
            folder.write_tokenizer(tokenizer, place, source=source, same=same, vendor=vendor, template=template)
        else:
            gguf_file.write_gguf(
                place / GGUF, model, tokenizer, wanted=wish.export_gguf_type, chat_template=template,
                stop_ids=encoder.stop_ids,
            )  # fmt: skip
        if wish.export_format == "ollama":
            context = min(int(model.config.max_position_embeddings), 4096)
            ollama.write_modelfile(place, encoder.template, tokenizer, weights=GGUF, context=context)
        if card is not None:
            write_card(place, replace(card, base_fingerprint=None))
        if witness is not None and as_folder:
            form = str(model.dtype).removeprefix("torch.")
            found = compare_folder(place, witness, encoder, form, with_template=faithful)
            say(str(found))
            fidelity.report(place, found)
    say(f"the model is in {target}")
    if wish.export_format == "ollama":
        ollama.tell(target)


def _encoder(recipe: Recipe, tokenizer: Any, source: Path) -> tuple[Encoder, RunCard | None]:
    from hone.models.fingerprint import base_fingerprint
    from hone.models.vocabulary import add_words
    from hone.runs.template import choose_encoder, find_card

    add_words(tokenizer, recipe.model)
    card, base = find_card(recipe.model), base_fingerprint(source)
    encoder = choose_encoder(recipe.model, recipe.data, tokenizer, card=card, given=recipe.given, base=base)
    return encoder, card


def _model(recipe: Recipe, source: Path, tokenizer: Any) -> Any:
    """The base with its last adapter still beside it, all earlier ones merged."""
    import torch

    from hone.models.device import choose_device
    from hone.models.dtype import stored_dtype
    from hone.models.load import load_model
    from hone.models.tuners import attach
    from hone.models.vocabulary import grow_model

    device = choose_device(use_cpu=recipe.export.export_device == "cpu")
    name = recipe.model.infer_dtype
    dtype = getattr(torch, name) if name != "auto" else stored_dtype(source) or torch.float32
    model = load_model(recipe.model, recipe.quantization, dtype=dtype, device=device)
    grow_model(model, tokenizer, recipe.model)
    return attach(model, recipe.finetuning, recipe.model, training=False, merge=False)


def _adapter_alone(adapters: list[Path], source: Path, target: Path) -> None:
    from transformers import AutoConfig

    from hone.export.gguf_file import write_lora
    from hone.export.place import drafted

    if len(adapters) != 1:
        raise RecipeError.one("CFG-RULE", "adapter_name_or_path", "", "gguf-lora writes one adapter: name one")
    config = AutoConfig.from_pretrained(str(source), local_files_only=True)
    with drafted(target, 2 * sum(path.stat().st_size for path in adapters[0].iterdir() if path.is_file())) as place:
        write_lora(place / "adapter.gguf", adapters[0], config)
    say(f"the adapter is in {target}")


def _tell_what_stays(adapters: Sequence[Path], recipe: Recipe) -> None:
    """Warn of what an export leaves out; refuse adapters that were trained on weights in few bits."""
    from hone.models.value_head import FILE

    for adapter in adapters:
        card = read_card(adapter)
        if card is not None and card.base_bits and recipe.quantization.quantization_bit is None:
            raise ModelError.one(
                "EXPORT-QUANTIZED", f"the adapter was trained on weights of {card.base_bits} bits",
                str(adapter),
                "merging it into the original weights changes its answers and is not done; serve it on its base",
            )  # fmt: skip
        if (adapter / FILE).is_file():
            warn(f"the value head of {adapter} is left out: the export writes text")


def _marks(tokenizer: Any) -> tuple[Any, ...]:
    """What fitting a tokenizer to a template can change."""
    return len(tokenizer), tokenizer.eos_token, tokenizer.pad_token, tuple(tokenizer.all_special_tokens)
