"""Every stage with every tuner: two steps, saved, loaded again. docs/support.md is the table of these tests.

A new stage or tuner is a new file, and so a new row or column here. `HONE_WRITE_SUPPORT=1` writes the table anew.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.recipe import FinetuningSection, settle
from hone.registry import find, names

PAGE = Path(__file__).parents[2] / "docs/support.md"
QUESTIONS = [(f"How much is {n} and {n}?", f"It is {2 * n}.") for n in range(8)]
ROWS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "Chat": ([{"instruction": q, "output": a} for q, a in QUESTIONS], {}),
    "Document": ([{"text": f"{q} {a}"} for q, a in QUESTIONS], {"columns": {"prompt": "text"}}),
    "Preference": (
        [{"instruction": q, "chosen": a, "rejected": "I do not know."} for q, a in QUESTIONS],
        {"ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}},
    ),
    "Feedback": (
        [{"instruction": q, "output": a, "good": n % 2 == 0} for n, (q, a) in enumerate(QUESTIONS)],
        {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "good"}},
    ),
}
"""Rows that a stage can eat, by the record it names, and what dataset_info.json says of them."""
GENERATES = {
    "reward_funcs": ["length:9"], "num_generations": 4, "max_new_tokens": 6, "temperature": 1.0, "top_p": 1.0,
    "top_k": 0,
}  # fmt: skip
"""What stages need besides that learn from answers of the model's own."""
MORE: dict[str, dict[str, Any]] = {
    "grpo": GENERATES,
    "ppo": {name: value for name, value in GENERATES.items() if name != "num_generations"},
}
STAGES = names("hone.stages")
TUNERS: dict[str, dict[str, Any]] = {
    **{name: {"finetuning_type": name} for name in names("hone.models.tuners")},
    "qlora": {"finetuning_type": "lora", "quantization_bit": 4},
}
TEST = "tests/e2e/test_support.py::test_a_stage_learns_with_a_tuner"


def rows_for(stage: str, folder: Path) -> None:
    """A data set folder with `rows` in the form that the stage eats."""
    rows, entry = ROWS[find("hone.stages", stage).Stage.record.__name__]
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json", **entry}}))


def logits(model: str, *adapters: str, bits: int | None = None, merge: bool = True) -> torch.Tensor:
    from hone.models.load import load_model
    from hone.models.tuners import attach
    from hone.recipe import ModelSection, QuantizationSection

    section = ModelSection(model_name_or_path=model, adapter_name_or_path=adapters)
    quantization = QuantizationSection(quantization_bit=bits)
    # As it was trained: in the evaluating form 4-bit layers compute in another way.
    base = load_model(section, quantization, dtype=torch.float32, device=torch.device("cpu"), training=True)
    with torch.no_grad():
        tuned = attach(base, FinetuningSection(), section, training=False, merge=merge)
        return tuned(torch.tensor([[1, 5, 9, 200, 33]])).logits


@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_learns_with_a_tuner(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, tuner: str
) -> None:
    if tuner == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed (pip install 'hone-llm[bnb]')")
    from hone.runs.train import train

    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows_for(stage, tmp_path / "data")
    base, run = str(tiny_model("llama")), tmp_path / "run"
    values = {
        "model_name_or_path": base, "stage": stage, "do_train": True, "dataset": "rows", "template": "chatml",
        "dataset_dir": str(tmp_path / "data"), "cutoff_len": 64, "output_dir": str(run), "max_steps": 2,
        "per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "use_cpu": True, **TUNERS[tuner], **MORE.get(stage, {}),
    }  # fmt: skip
    loss = train(settle(values, verb="train"))["train_loss"]
    # A policy's loss may be of either sign; that something was learned is seen at the logits.
    assert (-1e4 if stage in MORE else 0) < loss < 1e4
    bits = TUNERS[tuner].get("quantization_bit")
    before = logits(base, bits=bits)
    if (run / "adapter_model.safetensors").is_file():
        beside = logits(base, str(run), bits=bits, merge=False)
        assert torch.allclose(logits(base, str(run), bits=bits), beside, atol=1e-4)
    else:
        beside = logits(str(run))
    assert not torch.allclose(before, beside, atol=1e-3)


def table() -> str:
    """The page: a row for each stage, a column for each tuner, the id of the test in each cell."""
    lines = [
        "# What goes together",
        "",
        "Every stage with every tuner. Each cell is the id, in brackets, of the test that trains the two together for",
        f"two steps, saves, and loads again: `{TEST}[…]`. The table is written by that file",
        "(`HONE_WRITE_SUPPORT=1`) and held to what it runs.",
        "",
        "| stage | " + " | ".join(TUNERS) + " |",
        "|---|" + "---|" * len(TUNERS),
    ]
    lines += [f"| `{stage}` | " + " | ".join(f"`{stage}-{tuner}`" for tuner in TUNERS) + " |" for stage in STAGES]
    lines += [
        "",
        "`qlora` is `lora` on weights in 4 bits (bitsandbytes). 8 bits, DoRA, rsLoRA, PiSSA, LoRA+, LLaMA-Pro, several",
        "adapters and the like are variations of these columns; their tests are in `tests/models`.",
    ]
    return "\n".join(lines) + "\n"


def test_the_page_is_the_table_of_these_tests() -> None:
    if os.environ.get("HONE_WRITE_SUPPORT"):
        PAGE.write_text(table(), "utf-8")
    assert PAGE.read_text("utf-8") == table()
