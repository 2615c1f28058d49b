"""One rung of the ladder of `train_sft.py`: `python benchmarks/rung.py RUNG train RECIPE` is `hone train RECIPE`
without what the higher rungs add. Nothing of this is a switch of Hone: the parts are taken out from outside.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

RUNGS = ("padded", "unpadded", "label-logits", "kept", "by-hand", "machine-code", "bf16")
"""Each has what those before it have. `padded`: rows filled up to the longest, all logits, activations computed again;
`unpadded`: one flattened row; `label-logits`: logits at labels only; `kept`: activations kept; `by-hand`: blocks run by
hand; `machine-code`: small functions compiled, which is Hone's default; `bf16`: products in bf16."""


def settings_of(rung: str) -> dict[str, Any]:
    """What the recipe says on this rung."""
    place = RUNGS.index(rung)
    keys: dict[str, Any] = {"bf16": True} if rung == "bf16" else {}
    if place < RUNGS.index("kept"):
        keys["gradient_checkpointing"] = True
    elif rung == "kept":
        keys["disable_gradient_checkpointing"] = True
    return keys


def environment_of(rung: str) -> dict[str, str]:
    """Variables of the process."""
    return {"HONE_NATIVE": "0"} if RUNGS.index(rung) < RUNGS.index("machine-code") else {}


def take_out(rung: str) -> None:
    """Replace what this rung does not have yet."""
    place = RUNGS.index(rung)
    if place < RUNGS.index("by-hand"):
        _leave_blocks_alone()
    if place < RUNGS.index("label-logits"):
        _make_all_logits()
    if rung == "padded":
        _pad_rows()


def _leave_blocks_alone() -> None:
    quicken: Any = importlib.import_module("hone.models.speed.quicken")

    class Nothing:
        blocks, reasons = 0, ("left out for the ladder",)

        def __init__(self, model: Any, **_: Any) -> None:
            self.of = model.config.get_text_config().num_hidden_layers

    quicken.quicken = Nothing


def _make_all_logits() -> None:
    from hone.models.label_states import use_full_logits
    from hone.stages.sft import Stage

    before = Stage.equip

    def equip(self: Any, model: Any, materials: Any) -> None:
        before(self, model, materials)
        use_full_logits(model)

    Stage.equip = equip  # type: ignore[method-assign]


def _pad_rows() -> None:
    import torch

    from hone.stages.sft import Stage
    from hone.stages.shared.causal import ITEMS

    def collate(self: Any, examples: Sequence[Any]) -> dict[str, Any]:
        longest = max(len(one.input_ids) for one in examples)
        shape = (len(examples), longest)
        batch = {"input_ids": torch.zeros(shape, dtype=torch.long), "labels": torch.full(shape, -100)}
        batch["attention_mask"] = torch.zeros(shape, dtype=torch.long)
        for row, one in enumerate(examples):
            size = len(one.input_ids)
            batch["input_ids"][row, :size] = torch.from_numpy(one.input_ids.astype("int64"))
            batch["labels"][row, 1:size] = torch.from_numpy(one.labels.astype("int64"))[1:]
            batch["attention_mask"][row, :size] = 1
        batch[ITEMS] = torch.tensor(sum(int((one.labels != -100).sum()) for one in examples))
        return batch

    Stage.collate = collate  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    from hone.cli.main import main

    take_out(sys.argv[1])
    raise SystemExit(main(sys.argv[2:]))
