"""The recorded courses of training: loss, gradient norm and learning rate of each step, and the weights at the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from corpus import CORPUS, NAMED, Tally, needs_corpus

from hone.recipe import Recipe, settle

FAMILY = "losses"
NIGHTLY = frozenset(
    f"losses_{name}"
    for name in (
        "dpo_hinge_intended", "dpo_ipo_intended", "dpo_ld", "dpo_orpo", "dpo_simpo", "sft_all_r1", "sft_constant_bs4",
        "sft_eaft", "sft_grad_accum",
    )
)  # fmt: skip
"""Series that differ from another by a formula alone, which tests/training hold too, or by how a step is cut: each
takes 5 to 10 seconds of a processor, and `make nightly` runs them. Of a corpus that was asked for all are run."""
FILES = [
    pytest.param(file, marks=[pytest.mark.slow] if file.stem in NIGHTLY and not NAMED else [], id=file.stem)
    for file in sorted(CORPUS.glob("losses/*.json"))
]
FIRST, LAST = 1e-4, 1e-3
"""Relative tolerance of the first and of the fifth step (the corpus README); between them it grows evenly."""
PADDED = ("logits/chosen", "logits/rejected")
"""Recorded over the padding as well (and for kto not as a mean); Hone has none. See the last test."""

pytestmark = [needs_corpus, pytest.mark.model]


def settled(args: dict[str, Any], model: Path, folder: Path) -> Recipe:
    """The recipe of a series; a key that is refused fails the test."""
    places = {"model": model, "conformance": CORPUS}
    values = {name: value.format(**places) if isinstance(value, str) else value for name, value in args.items()}
    if " + value_head.safetensors of " in str(values.get("adapter_name_or_path")):
        values["adapter_name_or_path"] = with_head(values["adapter_name_or_path"], folder.parent / "start")
    here = {"output_dir": str(folder), "use_cpu": True, "save_strategy": "no", "report_to": "none"}
    return settle(values | here, verb="train")


def with_head(words: str, folder: Path) -> str:
    """`ADAPTER + value_head.safetensors of FOLDER`, as the corpus names a reward model's start, in one folder."""
    adapter, _, head = words.partition(" + value_head.safetensors of ")
    shutil.copytree(adapter, folder)
    shutil.copy(CORPUS / head / "value_head.safetensors", folder)
    return str(folder)


def steps_fault(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> str | None:
    if len(found) != len(expected):
        return f"{len(found)} steps instead of {len(expected)}"
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        allowed = FIRST + (LAST - FIRST) * number / max(len(expected) - 1, 1)
        for name, value in other.items():
            tolerance = {"learning_rate": 1e-9, "epoch": 1e-9, "step": 0}.get(name, allowed)
            if name not in one:
                return f"step {number + 1} has no {name}"
            if name in PADDED:
                continue
            if abs(one[name] - value) > tolerance * abs(value) + rounding(name, other):
                return f"step {number + 1}: {name} is {one[name]}, recorded {value}"
    return None


def rounding(name: str, recorded: dict[str, Any]) -> float:
    """Rewards and drifts are small differences of large log-probabilities, each good to about seven digits."""
    if not name.startswith("rewards/") and name != "kl":
        return 0.0
    return 1e-6 * max(abs(recorded["logps/chosen"]), abs(recorded["logps/rejected"]))


def weights_fault(folder: Path, expected: dict[str, Any]) -> str | None:
    from safetensors.torch import load_file

    for file, facts in expected.items():
        tensors = load_file(folder / file)
        if len(tensors) != facts["n_tensors"]:
            return f"{file} has {len(tensors)} tensors, recorded {facts['n_tensors']}"
        for group, norm in facts["l2"].items():
            members = [t for name, t in tensors.items() if group in name or group == "other"]
            found = sum(float(t.double().pow(2).sum()) for t in members) ** 0.5
            if abs(found - norm) > 1e-4 * norm:
                return f"{file}: the norm of {group} is {found}, recorded {norm}"
        for name, values in facts["samples"].items():
            if name == "v_head.summary.bias":
                continue  # a bias moves both scores of a pair alike: what it learns is rounding
            found_values = tensors[name].flatten()[: len(values)].tolist()
            if any(abs(a - b) > 1e-3 * abs(b) + 1e-4 for a, b in zip(found_values, values, strict=True)):
                return f"{file}: {name} begins with {found_values}, recorded {values}"
    return None


@pytest.mark.parametrize("file", FILES)
def test_losses_are_those_recorded(file: Path, small_model: Path, tmp_path: Path, tally: Tally) -> None:
    case = json.loads(file.read_text("utf-8"))
    recipe = settled(case["args"], small_model, tmp_path / "run")
    from hone.runs.train import train

    train(recipe)
    history = json.loads((tmp_path / "run/trainer_state.json").read_text("utf-8"))["log_history"]
    found = [event for event in history if "loss" in event]
    fault = steps_fault(found, case["expect"]["steps"]) or weights_fault(
        tmp_path / "run", case["expect"]["final_weights"]
    )
    assert tally.judge(FAMILY, file.stem, fault) is None, fault


@pytest.mark.skipif(not (CORPUS / "losses/losses_dpo_sigmoid.json").is_file(), reason="the corpus lacks that series")
def test_recorded_logits_are_those_of_padded_rows(small_model: Path) -> None:
    """Why `PADDED` is not compared: padded to a multiple of 8, the first batch gives what was recorded, exactly."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_model)
    base = AutoModelForCausalLM.from_pretrained(small_model)
    model = PeftModel.from_pretrained(base, str(CORPUS / "adapters/qv_r8")).eval()
    rows = json.loads((CORPUS / "data/conf_dpo.json").read_text("utf-8"))[:2]
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    for answer in ("chosen", "rejected"):
        turns = [[*row["conversations"], row[answer]] for row in rows]
        texts = [
            "".join(f"<|im_start|>{names[one['from']]}\n{one['value']}<|im_end|>\n" for one in turn) for turn in turns
        ]
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        padded = torch.tensor([one + [2] * (40 - len(one)) for one in ids])
        mask = torch.tensor([[1] * len(one) + [0] * (40 - len(one)) for one in ids])
        with torch.no_grad():
            logits = model(input_ids=padded, attention_mask=mask).logits
        recorded = json.loads((CORPUS / "losses/losses_dpo_sigmoid.json").read_text("utf-8"))["expect"]["steps"][0]
        assert logits.mean().item() == pytest.approx(recorded[f"logits/{answer}"], rel=1e-4)
        assert logits[mask.bool()].mean().item() != pytest.approx(recorded[f"logits/{answer}"], rel=1e-2)
