"""`hone export`: adapters merged, the model written whole, and held against the one that was tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError, RecipeError
from hone.export import hub
from hone.log import say, warn
from hone.recipe import Recipe, read_recipe
from hone.rundir import RunCard, read_card, write_card

if TYPE_CHECKING:
    from hone.dialogue.encoder import Encoder
    from hone.export.weights import Weights

GGUF = "model.gguf"


def run(words: Sequence[str]) -> int:
    """Read the recipe, merge, write, compare. Returns the exit code."""
    recipe = read_recipe([{"--check": "--export_check"}.get(word, word) for word in words], verb="export")
    if not recipe.export.export_dir:
        raise RecipeError.one("CFG-MISSING", "export_dir", "", "name the folder that receives the model")
    target, repository = Path(recipe.export.export_dir).expanduser(), recipe.export.export_hub_model_id
    if repository:
        hub.check(repository)
    export(recipe, target)
    if repository:
        hub.send(target, repository, token=recipe.model.hf_hub_token)
    return 0


def export(recipe: Recipe, target: Path) -> None:
    """Write the model that the recipe names into a new folder. Raises ModelError, RecipeError, MachineError."""
    from hone.export import fidelity, folder, k_quants, ollama
    from hone.export.gguf_file import gguf_bytes
    from hone.export.place import check_place, drafted
    from hone.export.weights import weights_of
    from hone.models.adapters import locate_adapter
    from hone.models.quantization import is_quantized
    from hone.models.source import find_source
    from hone.models.tokenizer import load_tokenizer
    from hone.runs.exported import chat_template, check_judge, compare_folder, compare_gguf, witness_of

    wish = recipe.export
    source = find_source(recipe.model).path
    adapters = [locate_adapter(name, recipe.model) for name in recipe.model.adapter_name_or_path]
    check_place(target, [source, *adapters])
    check_judge(recipe)
    k_quants.need(wish.export_gguf_type if wish.export_format in ("gguf", "ollama") else "")
    if wish.export_format == "gguf-lora":
        _adapter_alone(adapters, recipe, source, target)
        return
    tokenizer = load_tokenizer(recipe.model)
    plain, vendor = _marks(tokenizer), tokenizer.chat_template
    encoder, card = _encoder(recipe, tokenizer, source)
    model = _model(recipe, source, tokenizer)
    _check_bits(adapters, recipe, quantized=is_quantized(model))
    _tell_what_stays(adapters)
    witness = witness_of(recipe, model, encoder)
    if is_quantized(model):
        model = _model(recipe, source, tokenizer, plain=True)
    weights = weights_of(model, source if len(adapters) < 2 else None)  # the first of two was merged in memory
    del model
    template, faithful = chat_template(encoder, tokenizer, vendor)
    as_folder = wish.export_format == "safetensors"
    size = folder.model_bytes(weights.model) if as_folder else gguf_bytes(weights.model, wish.export_gguf_type)
    with drafted(target, size) as place:
        if as_folder:
            folder.write_folder(weights, place, source=source, shard_gigabytes=wish.export_size)
            same = plain == _marks(tokenizer)
            folder.write_tokenizer(tokenizer, place, source=source, same=same, vendor=vendor, template=template)
        else:
            _write_gguf(place, weights, tokenizer, encoder, wanted=wish.export_gguf_type, template=template)
        if wish.export_format == "ollama":
            context = min(int(weights.model.config.max_position_embeddings), 4096)
            ollama.write_modelfile(place, encoder.template, tokenizer, weights=GGUF, context=context)
        if card is not None:
            write_card(place, replace(card, base_fingerprint=None))
        form = str(weights.model.dtype).removeprefix("torch.")
        rows = int(weights.model.config.get_text_config().vocab_size)
        del weights  # before the export is loaded back
        if witness is not None:
            if as_folder:
                found = compare_folder(place, witness, encoder, form, with_template=faithful)
            else:
                found = compare_gguf(
                    place / GGUF, witness, encoder, wish.export_gguf_type, tokenizer=tokenizer,
                    rows=rows, with_template=faithful,
                )  # fmt: skip
            say(str(found))
            fidelity.report(place, found)
    say(f"the model is in {target}")
    if wish.export_format == "ollama":
        ollama.tell(target)


def _write_gguf(
    place: Path, weights: Weights, tokenizer: Any, encoder: Encoder, *, wanted: str, template: str | None
) -> None:
    """The GGUF file; formats that llama.cpp makes come out of one in full precision, which goes."""
    from hone.export import k_quants
    from hone.export.gguf_file import write_gguf
    from hone.runs.exported import begins

    later = wanted in k_quants.TYPES
    first = place / f".whole-{GGUF}" if later else place / GGUF
    write_gguf(
        first, weights, tokenizer, wanted=k_quants.SOURCE if later else wanted, chat_template=template,
        stop_ids=encoder.stop_ids, begins=begins(encoder),
    )  # fmt: skip
    if later:
        k_quants.quantize(first, place / GGUF, wanted)
        first.unlink()


def _encoder(recipe: Recipe, tokenizer: Any, source: Path) -> tuple[Encoder, RunCard | None]:
    from hone.models.fingerprint import base_fingerprint
    from hone.models.vocabulary import add_words
    from hone.runs.template import choose_encoder, find_card

    add_words(tokenizer, recipe.model)
    card, base = find_card(recipe.model), base_fingerprint(source)
    encoder = choose_encoder(recipe.model, recipe.data, tokenizer, card=card, given=recipe.given, base=base)
    return encoder, card


def _model(recipe: Recipe, source: Path, tokenizer: Any, *, plain: bool = False) -> Any:
    """The base with its last adapter still beside it, all earlier ones merged; `plain`: weights in few bits made
    ordinary before."""
    import torch

    from hone.export.unpacked import unpacked
    from hone.models.device import choose_device
    from hone.models.dtype import stored_dtype
    from hone.models.load import load_model
    from hone.models.tuners import attach
    from hone.models.vocabulary import grow_model

    device = choose_device(use_cpu=recipe.export.export_device == "cpu")
    name = recipe.model.infer_dtype
    dtype = getattr(torch, name) if name != "auto" else stored_dtype(source) or torch.float32
    model = load_model(recipe.model, recipe.quantization, dtype=dtype, device=device)
    model = unpacked(model) if plain else model
    grow_model(model, tokenizer, recipe.model)
    return attach(model, recipe.finetuning, recipe.model, training=False, merge=False)


def _adapter_alone(adapters: list[Path], recipe: Recipe, source: Path, target: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from hone.export.gguf_file import write_lora
    from hone.export.place import drafted
    from hone.models.adapters import check_adapter

    if len(adapters) != 1:
        raise RecipeError.one("CFG-RULE", "adapter_name_or_path", "", "gguf-lora writes one adapter: name one")
    config = AutoConfig.from_pretrained(str(source), local_files_only=True)
    with torch.device("meta"):  # shapes without weights
        check_adapter(AutoModelForCausalLM.from_config(config), adapters[0], recipe.model)
    with drafted(target, 2 * sum(path.stat().st_size for path in adapters[0].iterdir() if path.is_file())) as place:
        write_lora(place / "adapter.gguf", adapters[0], config)
    say(f"the adapter is in {target}")


def _check_bits(adapters: Sequence[Path], recipe: Recipe, *, quantized: bool) -> None:
    """Refuse to merge an adapter into other weights than it was trained on, as far as its card tells."""
    bits = recipe.quantization.quantization_bit
    if quantized and not adapters:
        raise RecipeError.one(
            "EXPORT-QUANTIZED", "quantised weights are not exported without an adapter", "quantization_bit",
            "leave it out; for a file in few bits see export_gguf_type",
        )  # fmt: skip
    for adapter in adapters:
        card = read_card(adapter)
        if card is None:
            continue
        if card.base_bits and (not quantized or bits not in (None, card.base_bits)):
            raise ModelError.one(
                "EXPORT-QUANTIZED", f"the adapter was trained on weights of {card.base_bits} bits", str(adapter),
                f"quantization_bit: {card.base_bits}, and the other quantization settings of its training: it is "
                "merged into those weights, made ordinary",
            )  # fmt: skip
        if quantized and not card.base_bits:
            raise ModelError.one(
                "EXPORT-QUANTIZED", "the adapter was trained on the weights as they are", str(adapter),
                "leave quantization_bit out",
            )  # fmt: skip


def _tell_what_stays(adapters: Sequence[Path]) -> None:
    """Warn of what an export leaves out."""
    from hone.models.value_head import FILE

    for adapter in adapters:
        if (adapter / FILE).is_file():
            warn(f"the value head of {adapter} is left out: the export writes text")


def _marks(tokenizer: Any) -> tuple[Any, ...]:
    """What fitting a tokenizer to a template can change."""
    return len(tokenizer), tokenizer.eos_token, tokenizer.pad_token, tuple(tokenizer.all_special_tokens)
