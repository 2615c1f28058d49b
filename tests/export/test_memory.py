"""What an export holds in memory: what it imports, and a weight at a time, never the whole model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MIB = 2**20
PEAK = """
import json, sys
from pathlib import Path

def held(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))

import gguf, peft, torch, transformers
import hone.export.folder, hone.export.gguf_file, hone.runs.exported, hone.runs.template
import hone.models.load, hone.models.quantization, hone.models.tuners
from hone.cli.main import main

before = held("VmRSS")
code = main(["export", *sys.argv[1:]])
print(json.dumps({"code": code, "above": held("VmHWM") - before}))
"""


@pytest.fixture(scope="module")
def large(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A random model of 170 MiB, an adapter for it, and the bytes of its weights."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    place = tmp_path_factory.mktemp("large")
    words = transformers.AutoTokenizer.from_pretrained(tiny_model("llama"))
    config = transformers.LlamaConfig(
        vocab_size=-(-len(words) // 64) * 64, hidden_size=768, intermediate_size=2048, num_hidden_layers=7,
        num_attention_heads=12, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    model.save_pretrained(place / "base")
    words.save_pretrained(place / "base")
    tuned = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    tuned.save_pretrained(place / "adapter")
    return place / "base", place / "adapter", size


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("form", ["safetensors", "gguf"])
def test_an_export_never_holds_the_whole_model(form: str, large: tuple[Path, Path, int], tmp_path: Path) -> None:
    base, adapter, size = large
    given = {
        "model_name_or_path": base, "adapter_name_or_path": adapter, "template": "chatml", "export_check": False,
        "export_dir": tmp_path / "out", "export_format": form, "export_gguf_type": "q8_0", "export_device": "cpu",
    }  # fmt: skip
    words = [f"{key}={value}" for key, value in given.items() if form == "gguf" or key != "export_gguf_type"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0
    assert found["above"] < size - 56 * MIB, (size, found)  # 70 to 85 MiB, most of it code that is brought in late
