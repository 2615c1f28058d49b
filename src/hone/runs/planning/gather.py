"""A recipe's data and model as a training would build them, and the workload that follows."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hone.recipe import Recipe
from hone.rundir import cache_root

if TYPE_CHECKING:
    import torch

    from hone.training.budget import Workload


@dataclass(frozen=True)
class Gathered:
    """All that is known without a step. `tokens` are those of the whole run, `available` is bytes for this process."""

    recipe: Recipe
    model: Any
    stage: Any
    train: Any
    arguments: Any
    device: torch.device
    parameters: int
    work: Workload
    by_hand: bool
    steps: int
    tokens: int
    available: int


def gather(recipe: Recipe) -> Gathered:
    """Raises what a training would raise, before its first step. A stream has no end that could be planned."""
    from hone.data.prepare import prepare
    from hone.errors import RecipeError
    from hone.models.device import choose_device
    from hone.models.tuners import count_parameters
    from hone.runs.encoding import encoding_of
    from hone.runs.model import build_model, largest_batch, plan_dtypes
    from hone.training.arguments import trainer_arguments

    if recipe.data.streaming:
        raise RecipeError.one(
            "PLAN-STREAM", "a stream is read once and has no known length", "streaming", "leave it out"
        )
    device = choose_device(use_cpu=recipe.training.use_cpu)
    dtypes = plan_dtypes(recipe, device)
    arguments = trainer_arguments(recipe.training, autocast=dtypes.autocast)
    encoding = encoding_of(recipe)
    prepared = prepare(
        recipe.data, encoding.stage, encoding.encoder, seed=recipe.training.seed, cache_dir=cache_root() / "data"
    )
    train = prepared.train
    assert train is not None  # what is no stream is a set, or has been refused
    _load_libraries()
    before = _resident()
    available = _free(device) + (before if device.type == "cpu" else 0)
    model = build_model(recipe, dtypes, device, train, encoding.stage, encoding.tokenizer, encoding.encoder)
    batch, steps = recipe.training.per_device_train_batch_size, _steps(len(train), arguments)
    longest, labels = largest_batch(recipe, encoding.stage, train)
    work, by_hand = workload(model, recipe, encoding.stage, arguments, tokens=longest, labels=labels)
    if device.type == "cpu":
        # Fitted to the peaks measured on the small models, which lie about a copy of the head higher: what the C
        # library keeps for later. Where blocks are computed again it keeps nothing (`give_back_at_once`).
        kept = work.vocabulary * work.hidden * work.width if by_hand or not work.recomputes else 0
        work = replace(work, process=_process(model, before), scratch=kept)
    a_step = batch * arguments.gradient_accumulation_steps * arguments.world_size
    # Answers that the model will write are taken to be as long as they may be.
    mean = longest / batch if hasattr(encoding.stage, "gather") else float(train.lengths.mean())
    tokens = int(mean * a_step * steps)
    whole = count_parameters(model)[1]
    return Gathered(
        recipe, model, encoding.stage, train, arguments, device, whole, work, by_hand, steps, tokens, available
    )


def workload(
    model: Any, recipe: Recipe, stage: Any, arguments: Any, *, tokens: int, labels: int
) -> tuple[Workload, bool]:
    """What the built model will keep: blocks by hand keep little; others what autograd keeps; or their inputs only.
    Also whether all blocks run by hand."""
    from hone.models.tuners import count_parameters
    from hone.training.budget import OPTIMIZER_BYTES, Workload

    text = model.config.get_text_config()
    quick = [module._hone_quick for module in model.modules() if "_hone_quick" in vars(module)]
    blocks, hidden = int(text.num_hidden_layers), int(text.hidden_size)
    wide = int(getattr(text, "intermediate_size", None) or 4 * hidden)
    stored = sum(p.numel() * p.element_size() for p in model.parameters())
    by_hand = len(quick) == blocks
    kept = quick[0].numbers if by_hand else 12 * hidden + 4 * wide + _dropped(model) // max(blocks, 1)
    state = OPTIMIZER_BYTES.get(str(getattr(arguments.optim, "value", arguments.optim)), 8.0)
    width = model.dtype.itemsize
    new = hasattr(model, "is_activation_checkpointing")
    name = "is_activation_checkpointing" if new else "is_gradient_checkpointing"
    recomputes = bool(getattr(model, name)) and not by_hand
    if by_hand and quick[0].budget.allowed < tokens * kept * width * blocks:
        recomputes = True
    return Workload(
        weights=stored,
        learning=count_parameters(model)[0],
        blocks=blocks,
        hidden=hidden,
        kept=kept,
        vocabulary=int(text.vocab_size),
        tokens=tokens,
        labels=labels,
        width=width,
        state=state,
        recomputes=recomputes,
        second_model=_beside(model, stage),
        answering=_answering(model, stage, arguments, tokens=tokens),
    ), by_hand


def _answering(model: Any, stage: Any, arguments: Any, *, tokens: int) -> int:
    """Bytes that are held while answers are written: keys and values of all rows that are written side by side, and
    what is made of their last logits. 0 for a stage that writes none."""
    from hone.engines.batch import ROWS
    from hone.engines.memory import Memory
    from hone.training.budget import CHUNK_COPIES

    if not hasattr(stage, "gather"):
        return 0
    batch = arguments.per_device_train_batch_size
    asked = batch * arguments.gradient_accumulation_steps * stage.buffered
    rows = min(asked, max(ROWS // stage.size, 1)) * stage.size
    held = Memory.of(model, 0).token * rows * (tokens // (batch * stage.size))
    return int(held + CHUNK_COPIES * rows * int(model.config.get_text_config().vocab_size) * 4)


def _beside(model: Any, stage: Any) -> int:
    """Bytes of the weights of a reference and a reward model, as far as they are not the policy's own."""
    scorer = getattr(getattr(stage, "rollout", None), "scorer", None)
    others = [getattr(one, "model", None) for one in (getattr(stage, "reference", None), scorer)]
    mine = {id(parameter) for parameter in model.parameters()}
    held = {id(p): p.numel() * p.element_size() for other in others if other is not None for p in other.parameters()}
    return sum(size for key, size in held.items() if key not in mine)


def _process(model: Any, before: int) -> int:
    """Bytes of interpreter and libraries, as far as they show now that the model is built: the process without its
    weights, of which those that are mapped from a file count as far as they have been touched."""
    import psutil

    try:
        maps = psutil.Process(os.getpid()).memory_maps()
    except (AttributeError, psutil.Error):  # not on every system
        return before
    files = [one for one in maps if one.path.endswith(".safetensors")]
    stored = sum(p.numel() * p.element_size() for p in model.parameters())
    loose = max(stored - sum(getattr(one, "size", one.rss) for one in files), 0)
    return max(_resident() - sum(one.rss for one in files) - loose, before)


def _dropped(model: Any) -> int:
    """What dropout in front of adapters keeps of a token: of each input the mask and what is left of it."""
    found = 0
    for module in model.modules():
        layers = getattr(module, "lora_dropout", None) or {}
        if any(getattr(layer, "p", 0) for layer in getattr(layers, "values", lambda: ())()):
            found += 2 * int(getattr(module, "in_features", 0))
    return found


def _load_libraries() -> None:
    """What every training brings into memory, so that it is counted as the process's own."""
    import accelerate
    import peft
    import torch._dynamo  # the optimizer does

    import hone.models.speed.quicken
    import hone.training.trainer  # noqa: F401

    assert accelerate and peft and torch._dynamo


def _steps(examples: int, arguments: Any) -> int:
    if arguments.max_steps > 0:
        return int(arguments.max_steps)
    batches = -(-examples // (arguments.per_device_train_batch_size * arguments.world_size))
    return int(-(-arguments.num_train_epochs * max(-(-batches // arguments.gradient_accumulation_steps), 1) // 1))


def _resident() -> int:
    """Bytes of this process in memory."""
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)


def _free(device: torch.device) -> int:
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
