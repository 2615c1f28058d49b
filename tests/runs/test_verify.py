"""`hone verify` finds what is exact, says what does not apply, and catches what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.cli.main import main
from hone.recipe import settle
from hone.runs.verify import verify
from hone.runs.verifying import twin
from hone.training.checkpoints.start import Start, choose_start

Words = Callable[..., list[str]]
EVERY = ("audit", "ids", "packing", "batches", "logits", "reference", "merged", "checkpointing", "speed")
GENERATES = {"max_new_tokens": 6, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "reward_funcs": "length:9"}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    """`words(model, stage, name=value …)`: the words of a small recipe after its verb."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    counted = [(f"Count to {n}.", " ".join(map(str, range(n)))) for n in range(1, 9)]
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    files = {
        "rows": [{"instruction": q, "output": a} for q, a in counted],
        "pairs": [{"instruction": q, "chosen": a, "rejected": "no"} for q, a in counted],
        "judged": [{"instruction": q, "output": a, "good": len(a) % 2 == 0} for q, a in counted],
        "dataset_info": {
            "rows": {"file_name": "rows.json"},
            "pairs": {"file_name": "pairs.json", "ranking": True, "columns": columns},
            "judged": {"file_name": "judged.json", "columns": {"prompt": "instruction", "response": "output",
                                                                "kto_tag": "good"}},
        },
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def make(model: Path, stage: str = "sft", **more: Any) -> list[str]:
        values = {
            "stage": stage, "do_train": True, "model_name_or_path": model, "template": "chatml",
            "dataset": {"dpo": "pairs", "rm": "pairs", "kto": "judged"}.get(stage, "rows"), "dataset_dir": tmp_path,
            "cutoff_len": 64, "use_cpu": True, "output_dir": tmp_path / "run", "lora_rank": 4, **more,
        }  # fmt: skip
        return [f"{name}={value}" for name, value in values.items()]

    return make


def verdicts(folder: Path) -> dict[str, str]:
    found = json.loads((folder / "run/verify.json").read_text())
    return {one["name"]: one["verdict"] for one in found["findings"]}


@pytest.mark.parametrize(
    ("stage", "more", "elsewhere"),
    [
        ("sft", {"lora_dropout": 0.1}, {"reference"}),
        ("kto", {}, {"batches"}),
        ("rm", {"finetuning_type": "full"}, {"logits", "reference", "merged", "speed"}),
        ("grpo", {**GENERATES, "num_generations": 2, "beta": 0.1}, {"packing", "batches"}),
        ("ppo", GENERATES, {"packing", "batches", "logits"}),
    ],
)
def test_a_recipe_is_exact_and_what_does_not_apply_is_said(
    tiny_model: Callable[[str], Path], words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    stage: str, more: dict[str, Any], elsewhere: set[str],
) -> None:  # fmt: skip
    code = main(["verify", *words(tiny_model("llama"), stage, **more)])
    shown = capsys.readouterr()
    assert code == 0, shown
    assert verdicts(tmp_path) == {name: "does not apply" if name in elsewhere else "holds" for name in EVERY}
    assert len(shown.out.splitlines()) == len(EVERY)
    page = (tmp_path / "run/verify.md").read_text()
    assert "all holds" in page
    assert page.count("| holds |") == len(EVERY) - len(elsewhere)
    found = json.loads((tmp_path / "run/verify.json").read_text())
    assert all(one["detail"] for one in found["findings"] if one["verdict"] == "does not apply")
    assert any("lora_dropout" in note for note in found["notes"]) == ("lora_dropout" in more)


def test_a_large_model_is_stood_for_by_a_tiny_twin_and_a_training_begins_in_the_same_folder(
    tiny_model: Callable[[str], Path], words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twin, "LARGE", 0)
    assert main(["verify", *words(tiny_model("qwen3"), "dpo")]) == 0
    assert "twin" in json.loads((tmp_path / "run/verify.json").read_text())["subject"]
    assert verdicts(tmp_path) == dict.fromkeys(EVERY, "holds")
    assert choose_start(tmp_path / "run", overwrite=False, resume=None, train=True) == Start()


def test_a_twin_has_a_block_of_each_kind_and_few_others() -> None:
    from transformers import Gemma3TextConfig

    config = Gemma3TextConfig(num_hidden_layers=26, hidden_size=1152, num_attention_heads=4, num_key_value_heads=1)
    twin.shrink(config, narrow=True)
    assert config.num_hidden_layers == len(config.layer_types) == 3
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert (config.hidden_size, config.num_key_value_heads) == (64, 1)


def test_a_layer_that_sees_its_neighbours_while_training_is_caught(
    tiny_model: Callable[[str], Path], words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from transformers.models.llama.modeling_llama import LlamaMLP

    plain = LlamaMLP.forward

    def leaking(self: Any, states: torch.Tensor) -> torch.Tensor:
        return plain(self, states + 0.1 * states.mean(1, keepdim=True) if self.training else states)

    monkeypatch.setattr(LlamaMLP, "forward", leaking)
    assert main(["verify", *words(tiny_model("llama"))]) == 7
    found = verdicts(tmp_path)
    assert found["packing"] == found["batches"] == "fails"
    assert found["logits"] == found["checkpointing"] == "holds"
    shown = capsys.readouterr().err
    assert "error[VERIFY] the loss is" in shown
    assert "packed = unpacked" in shown
    assert "NOT exact" in (tmp_path / "run/verify.md").read_text()


def test_a_layer_that_draws_numbers_of_its_own_is_caught(
    tiny_model: Callable[[str], Path], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    plain = LlamaMLP.forward
    monkeypatch.setattr(
        LlamaMLP, "forward", lambda self, states: plain(self, states * (1 + 0.01 * torch.rand(1) * self.training))
    )
    values = dict(word.split("=", 1) for word in words(tiny_model("llama")))
    report = verify(settle({**values, "do_train": True, "use_cpu": True}, verb="train"))
    assert {"batches", "checkpointing"} <= {one.name for one in report.failed}
