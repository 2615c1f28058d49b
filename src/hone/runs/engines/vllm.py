"""Hugging Face folders answered by vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hone.errors import MachineError, ModelError, RecipeError
from hone.log import say
from hone.models.adapters import locate_adapter
from hone.models.device import choose_device
from hone.models.dtype import inference_dtype, stored_dtype
from hone.models.gguf import find_gguf
from hone.models.load import auto_class
from hone.models.preflight import check_folder, read_config
from hone.models.source import find_source
from hone.recipe import Recipe

if TYPE_CHECKING:
    from hone.engines.vllm.arguments import Start
    from hone.engines.vllm.engine import VllmEngine


def check(recipe: Recipe) -> None:
    """Raises MachineError without vLLM, ModelError for a GGUF file, RecipeError for several adapters in one."""
    from hone.engines.vllm.library import check_here

    check_here()
    path = find_source(recipe.model).path
    if find_gguf(path) is not None:
        what = "infer_backend: vllm answers with a Hugging Face folder, and this is a GGUF file"
        raise ModelError.one("VLLM-FILE", what, str(path), "use infer_backend: llamacpp")
    if len(recipe.model.adapter_name_or_path) > 1:
        what = "vLLM answers with one adapter at a time"
        fix = "give each a name (name=folder) with `hone api`, or merge them with hone export"
        raise RecipeError.one("VLLM-ADAPTERS", what, "adapter_name_or_path", fix)


def start(recipe: Recipe, tokenizer: Any, *, slots: int, queue: int, named: int) -> VllmEngine:
    """The engine with its model; an adapter without a name stands beside the model and answers for it."""
    from hone.engines.vllm.arguments import engine_arguments
    from hone.engines.vllm.engine import VllmEngine

    source = find_source(recipe.model)
    trust = recipe.model.trust_remote_code
    check_folder(source.path, trust_code=trust, fetched=source.fetched)
    config = _config(source.path, trust=trust)
    own = recipe.model.adapter_name_or_path
    began = _start(recipe, source.path, config, slots=slots, adapters=named + len(own))
    engine = VllmEngine(
        engine_arguments(recipe.engine, began, recipe.given),
        tokenizer,
        config.get_text_config(decoder=True).vocab_size,
        skeleton=lambda: _skeleton(source.path, config, trust=trust),
        slots=slots,
        queue=queue,
    )
    if own:
        engine.adapters.load_own(locate_adapter(own[0], recipe.model), recipe.model)
    return engine


def _start(recipe: Recipe, folder: Path, config: Any, *, slots: int, adapters: int) -> Start:
    from hone.engines.memory import free_memory
    from hone.engines.vllm.arguments import Start
    from hone.engines.vllm.library import library

    processor = library().device == "cpu"
    if recipe.training.use_cpu and not processor:
        what = f"the installed vLLM is built for {library().device}"
        raise MachineError.one("VLLM-DEVICE", what, "use_cpu", "leave it out, or leave infer_backend out")
    device = choose_device(use_cpu=processor)
    dtype = inference_dtype(device, name=recipe.model.infer_dtype, stored=stored_dtype(folder))
    return Start(
        folder,
        dtype=str(dtype).removeprefix("torch."),
        context=_context(recipe, config),
        slots=slots,
        adapters=adapters,
        targets=_targets(folder, config, recipe) if adapters else (),
        cards=1 if processor else max(torch.cuda.device_count(), 1),
        free=free_memory(device) if processor else None,
        trust_code=recipe.model.trust_remote_code,
    )


def _context(recipe: Recipe, config: Any) -> int:
    """`vllm_maxlen`, or what the model was made for if that is less."""
    wanted = recipe.engine.vllm_maxlen
    made = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or wanted
    if made < wanted and "vllm_maxlen" in recipe.given:
        say(f"vllm_maxlen is {wanted:,}; the model was made for {made:,} tokens, and gets these")
    return int(min(wanted, made))


def _targets(folder: Path, config: Any, recipe: Recipe) -> tuple[str, ...]:
    """The last names of the linear layers within the language model. Not the output layer: vLLM (0.32) mixes up whose
    factors it gets when the odds of a prompt are asked for (vllm-project/vllm issue 16668), on processors it ends then.
    """
    decoder = _skeleton(folder, config, trust=recipe.model.trust_remote_code).get_decoder()
    linear = (name for name, one in decoder.named_modules() if isinstance(one, torch.nn.Linear))
    return tuple(sorted({name.rpartition(".")[2] for name in linear}))


def _config(folder: Path, *, trust: bool) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust)


def _skeleton(folder: Path, config: Any, *, trust: bool) -> Any:
    """The model without numbers: names and shapes, to hold adapters against."""
    with torch.device("meta"):
        return auto_class(read_config(folder)).from_config(config, trust_remote_code=trust)
