"""BAdam: Adam on one block of the model at a time, or on a share of every tensor; only these have moments."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hone.errors import ModelError, RecipeError
from hone.log import say
from hone.training.optimizers._adam import TensorwiseOptimizer, adam_direction, grouped, learning

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection


def wanted(finetuning: FinetuningSection) -> bool:
    """Whether the recipe asks for it."""
    return finetuning.use_badam


def build(model: Any, arguments: Any, finetuning: FinetuningSection) -> TensorwiseOptimizer:
    """`badam_mode` layer: decoder blocks in turn, what lies outside stands still; ratio: a share of every tensor."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError.one("CFG-CONFLICT", "BAdam runs in one process", "use_badam", "start one process")
    if finetuning.badam_mode == "ratio":
        parameters = [parameter for _, parameter in learning(model)]
        return ShareAdam(parameters, arguments, finetuning)
    return BlockAdam(model, arguments, finetuning)


class BlockAdam(TensorwiseOptimizer):
    """One block learns for `switch_interval` steps, then another; its moments are forgotten when it is left."""

    def __init__(self, model: Any, arguments: Any, finetuning: FinetuningSection) -> None:
        blocks = _blocks(model)
        self.order = Order(len(blocks), finetuning, arguments.seed)
        self.verbose = finetuning.badam_verbose
        groups = [group | {"block": place} for place, members in enumerate(blocks) for group in grouped(members)]
        still = [p for _, p in learning(model) if not any(p is q for members in blocks for q in members)]
        for parameter in still:
            parameter.requires_grad_(False)
        super().__init__(groups, arguments)
        self.param_groups[0]["steps"] = 0
        self._wake()

    def direction(self, parameter: Tensor, slope: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        """Adam's, of the block whose turn it is."""
        return adam_direction(state, slope, group)

    @property
    def block(self) -> int:
        """The block whose turn it is."""
        return self.order.at(self.param_groups[0]["steps"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of the awake block; at the end of its turn the next one wakes."""
        loss = super().step(closure)
        before = self.block
        self.param_groups[0]["steps"] += 1
        if self.block != before:
            self.state.clear()
            self._wake()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Also wakes the block that was awake when the state was saved."""
        super().load_state_dict(state_dict)
        self._wake()

    def _wake(self) -> None:
        awake = self.block
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(group["block"] == awake)
                parameter.grad = None
        if self.verbose:
            say(f"BAdam: block {awake} of {self.order.count} learns")


class ShareAdam(TensorwiseOptimizer):
    """Of every tensor the same share of numbers learns, drawn anew every `switch_interval` steps."""

    def __init__(self, parameters: list[Tensor], arguments: Any, finetuning: FinetuningSection) -> None:
        how = {
            "share": finetuning.badam_update_ratio,
            "scatter": finetuning.badam_mask_mode == "scatter",
            "interval": finetuning.badam_switch_interval or 0,
            "seed": arguments.seed,
        }
        super().__init__(grouped(parameters, **how), arguments)
        self._drawn: dict[Tensor, tuple[int, Tensor]] = {}
        """For each tensor the step at which its numbers were drawn, and their places; they follow from the seed."""

    def direction(self, parameter: Tensor, slope: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        """Adam's at the numbers drawn, zero elsewhere."""
        done, since = state.get("done", 0), state.get("since", 0)
        if group["interval"] > 0 and done and done % group["interval"] == 0:
            state.clear()
            since = done
        places = self._places(parameter, group, since)
        move = torch.zeros_like(slope).flatten()
        move[places] = adam_direction(state, slope.flatten()[places], group)
        state |= {"done": done + 1, "since": since}
        return move.view_as(slope)

    def _places(self, parameter: Tensor, group: dict[str, Any], since: int) -> Tensor:
        if self._drawn.get(parameter, (-1,))[0] != since:
            self._drawn[parameter] = since, _draw(parameter.numel(), group, since).to(parameter.device)
        return self._drawn[parameter][1]


class Order:
    """Which of `count` blocks learns at a step."""

    def __init__(self, count: int, finetuning: FinetuningSection, seed: int) -> None:
        self.count, self.seed = count, seed
        self.mode = finetuning.badam_switch_mode or "ascending"
        self.interval = finetuning.badam_switch_interval or -1
        last = count - 1 if self.mode == "descending" else 0
        self.first = last if finetuning.badam_start_block is None else finetuning.badam_start_block
        if self.first >= count:
            raise ModelError.one(
                "TUNER-LAYERS", f"the model has {count} blocks, there is none with number {self.first}",
                "badam_start_block", f"choose 0 to {count - 1}",
            )  # fmt: skip

    def at(self, step: int) -> int:
        """The block of a step, counted from 0."""
        turn = step // self.interval if self.interval > 0 else 0
        if self.mode == "fixed":
            return self.first
        if self.mode == "random":
            draw = torch.Generator().manual_seed(self.seed + turn // self.count)
            return int(torch.randperm(self.count, generator=draw)[turn % self.count])
        return (self.first + (turn if self.mode == "ascending" else -turn)) % self.count


def _draw(size: int, group: dict[str, Any], step: int) -> Tensor:
    """The places of the numbers that learn: one run of neighbours, or scattered."""
    count = max(1, round(size * group["share"]))
    draw = torch.Generator().manual_seed(group["seed"] + step)
    if group["scatter"]:
        return torch.randperm(size, generator=draw)[:count].sort().values
    start = int(torch.randint(size - count + 1, (1,), generator=draw))
    return torch.arange(start, start + count)


def _blocks(model: Any) -> list[list[Tensor]]:
    """The learning parameters of each decoder block."""
    from torch import nn

    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == layers]
    if not lists:
        raise ModelError.one("TUNER-BLOCKS", "the model's blocks are not found", "badam_mode", "use badam_mode: ratio")
    found = [[p for p in block.parameters() if p.requires_grad] for block in lists[0]]
    if not all(found):
        raise ModelError.one(
            "TUNER-BLOCKS", "a block has nothing that learns", "use_badam", "use finetuning_type: full"
        )
    return found
