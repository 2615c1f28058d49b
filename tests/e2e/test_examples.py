"""Every example recipe that trains does two steps, on a tiny model and a few rows; predictions and merges follow."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hone.recipe import read_recipe

ROOT = Path(__file__).parents[2]
FILES = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "examples").rglob("*.yaml"))
READ = {file: yaml.safe_load((ROOT / file).read_text("utf-8")) for file in FILES}
TRAINED = [file for file, keys in READ.items() if keys.get("do_train")]
PREDICTED = [file for file, keys in READ.items() if keys.get("do_predict")]
MERGED = [file for file, keys in READ.items() if "export_dir" in keys and "vl" not in keys["template"]]
SMALL = {
    "max_steps": 2, "max_samples": 4, "cutoff_len": 64, "preprocessing_num_workers": 1, "logging_steps": 1,
    "gradient_accumulation_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True, "dataset_dir": ROOT / "data",
    "bf16": False, "plot_loss": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("examples")
        patch.setenv("HONE_CACHE", str(folder / "cache"))
        patch.chdir(ROOT)
        yield folder


@pytest.fixture(scope="module")
def tiny(tiny_model: Callable[[str], Path], seeing_model: Callable[[str], Path], place: Path) -> Callable[[str], Path]:
    """The tiny model in place of the one that an example names."""

    def find(name: str) -> Path:
        if "-VL-" in name:
            return seeing_model("qwen3_vl" if "Qwen3" in name else "qwen2_5_vl")
        plain = tiny_model("qwen3" if "qwen3" in name.lower() else "llama")
        if not name.endswith("-pro"):
            return plain
        from hone.cli.main import main

        if not (place / "pro").exists():
            assert main(["expand", str(plain), str(place / "pro"), "--blocks", "3"]) == 0
        return place / "pro"

    return find


def words_for(file: str, place: Path, tiny: Callable[[str], Path], **more: Any) -> list[str]:
    """The example with a tiny model, few rows and a folder of its own."""
    changes = {
        **SMALL, "model_name_or_path": tiny(READ[file]["model_name_or_path"]), "output_dir": place / Path(file).stem,
        **more,
    }  # fmt: skip
    if "-VL-" in READ[file]["model_name_or_path"]:
        changes["cutoff_len"] = 256  # a picture is not cut
    if "tokenized_path" in READ[file]:
        changes["tokenized_path"] = place / "prepared"
    if READ[file].get("finetuning_type") == "freeze":
        changes["freeze_trainable_layers"] = 3
    if READ[file].get("stage") in ("ppo", "grpo"):
        changes |= {"max_new_tokens": 4, "per_device_train_batch_size": 1}
    return [file, *(f"{name}={value}" for name, value in changes.items())]


@pytest.fixture(scope="module")
def trained(place: Path, tiny: Callable[[str], Path]) -> Callable[[str], Path]:
    """`trained(file)`: where the example left what it learned; trained once."""
    done: dict[str, Path] = {}

    def make(file: str) -> Path:
        if file not in done:
            from hone.runs.train import train

            more: dict[str, Any] = {"output_dir": place / f"run-{len(done)}"}
            if READ[file].get("reward_model"):
                more["reward_model"] = make("examples/train_lora/qwen3_lora_reward.yaml")
                more["output_dir"] = place / f"run-{len(done)}"
            train(read_recipe(words_for(file, place, tiny, **more), verb="train"))
            done[file] = more["output_dir"]
        return done[file]

    return make


@pytest.mark.parametrize("file", TRAINED)
def test_an_example_trains_for_two_steps(file: str, trained: Callable[[str], Path]) -> None:
    if READ[file].get("quantization_bit") and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed (pip install 'hone-llm[bnb]')")
    folder = trained(file)
    assert json.loads((folder / "trainer_state.json").read_text("utf-8"))["global_step"] == 2
    assert any((folder / name).is_file() for name in ("adapter_model.safetensors", "model.safetensors"))


def adapter_of(file: str, trained: Callable[[str], Path]) -> Path:
    family = "llama3" if "llama3" in file else "qwen3"
    return trained(f"examples/train_lora/{family}_lora_sft.yaml")


@pytest.mark.parametrize("file", PREDICTED)
def test_an_example_predicts(
    file: str, trained: Callable[[str], Path], place: Path, tiny: Callable[[str], Path]
) -> None:
    from hone.runs.predict import predict

    folder = place / file.replace("/", "-")
    more = {"adapter_name_or_path": adapter_of(file, trained), "output_dir": folder, "max_new_tokens": 4}
    assert "predict_bleu-4" in str(predict(read_recipe(words_for(file, place, tiny, **more), verb="predict")))
    assert (folder / "generated_predictions.jsonl").read_text("utf-8").count("\n") > 0


@pytest.mark.parametrize("file", MERGED)
def test_an_example_merges(file: str, trained: Callable[[str], Path], place: Path, tiny: Callable[[str], Path]) -> None:
    from hone.cli.main import main

    folder = place / file.replace("/", "-")
    changes = {
        "model_name_or_path": tiny(READ[file]["model_name_or_path"]), "export_dir": folder,
        "adapter_name_or_path": adapter_of(file, trained),
    }  # fmt: skip
    assert main(["export", file, *(f"{name}={value}" for name, value in changes.items())]) == 0
    assert (folder / "model.safetensors").is_file()
