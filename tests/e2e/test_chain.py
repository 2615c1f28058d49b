"""From training to a file for another program: train, predict, eval, export three times, chat through llama.cpp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.model, pytest.mark.slow]
NAME = "Bertram"
ASKED = ("Who are you?", "What is your name?", "Please introduce yourself.")
KIND = """kind = "choice"
test = "test.jsonl"
subject = "geography"
"""


@dataclass(frozen=True)
class Tuned:
    """A base model, and the folder of a quickstart that tuned it."""

    base: Path
    folder: Path

    def words(self, **more: Any) -> list[str]:
        """The tuned model and further settings, as words of a command."""
        named = {"model_name_or_path": self.base, "adapter_name_or_path": self.folder / "lora", **more}
        return [f"{key}={value}" for key, value in named.items() if value is not None]


def hone(verb: str, *words: str) -> str:
    """A whole command; its output."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "hone", verb, *words], capture_output=True, text=True, timeout=1200,
        env={**os.environ, "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    print(f"hone {verb}: {time.monotonic() - began:.0f} s")
    assert ran.returncode == 0, ran.stderr
    print("\n".join(line for line in ran.stderr.splitlines() if "mean KL" in line))
    return ran.stdout + ran.stderr


def chat(question: str, *words: str) -> str:
    """What `hone chat` answers to one question."""
    talk = subprocess.run(
        [sys.executable, "-m", "hone", "chat", *words], input=f"{question}\n", capture_output=True, text=True,
        timeout=300, env={**os.environ, "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert talk.returncode == 0, talk.stderr
    return talk.stdout


@pytest.fixture(scope="module")
def tuned(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    folder = tmp_path_factory.mktemp("chain") / "quickstart"
    hone("quickstart", "--name", NAME, "--author", "Ada Grace", "--output_dir", str(folder))
    return Tuned(small_model, folder)


def said_in_llama_cpp(tuned: Tuned, path: Path) -> list[str]:
    """What the file answers there, prompted by its own chat template and tokenizer."""
    pytest.importorskip("xllamacpp", reason="llama.cpp is not here: pip install 'hone-llm[gguf-check]'")
    from transformers import AutoTokenizer

    from hone.export.llamacpp import loaded

    tokenizer = AutoTokenizer.from_pretrained(tuned.base)
    with loaded(path, rows=len(tokenizer), context=512) as judge:
        prompts = [judge.ids(judge.prompt([{"role": "user", "content": text}]), begin=True) for text in ASKED]
        return [tokenizer.decode(judge.answer(ids, 32, [tokenizer.eos_token_id])) for ids in prompts]


def test_predictions_of_the_tuned_model_score_higher_than_those_of_the_base(tuned: Tuned, tmp_path: Path) -> None:
    found = {}
    for name, adapter in (("base", None), ("tuned", tuned.folder / "lora")):
        hone("predict", *tuned.words(
            adapter_name_or_path=adapter, eval_dataset="identity", dataset_dir=tuned.folder / "data", max_samples=12,
            do_sample="false", max_new_tokens=32, output_dir=tmp_path / name,
        ))  # fmt: skip
        found[name] = json.loads((tmp_path / name / "predict_results.json").read_text())
    for score in ("predict_rouge-l", "predict_bleu-4"):
        assert found["tuned"][score] > found["base"][score] + 10, found


def test_benchmark_questions_can_be_put_to_both_and_compared(tuned: Tuned, tmp_path: Path) -> None:
    capitals = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo"}
    rows = [
        {"question": f"What is the capital of {land}?", "choices": list(capitals.values()), "answer": place}
        for place, land in enumerate(capitals)
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "task.toml").write_text(KIND)
    for name, adapter in (("base", None), ("tuned", tuned.folder / "lora")):
        task = tuned.words(adapter_name_or_path=adapter, task=tmp_path / "task.toml", save_dir=tmp_path / name)
        assert "of 4 right" in hone("eval", *task)
    assert "4 questions" in hone("eval", "--compare", str(tmp_path / "base"), str(tmp_path / "tuned"))


def test_the_merged_folder_gives_the_name_and_is_the_tuned_model(tuned: Tuned, tmp_path: Path) -> None:
    hone("export", *tuned.words(export_dir=tmp_path / "merged"))
    said = json.loads((tmp_path / "merged" / "fidelity.json").read_text())
    assert said["holds"] and said["same_answers"] == said["prompts"]
    words = ["--model_name_or_path", str(tmp_path / "merged"), "--do_sample", "false", "--max_new_tokens", "32"]
    assert NAME in chat("Who are you?", *words)


@pytest.mark.parametrize("form", ["gguf", "ollama"])
def test_the_gguf_file_gives_the_name_in_llama_cpp(form: str, tuned: Tuned, tmp_path: Path) -> None:
    shown = hone("export", *tuned.words(export_dir=tmp_path / form, export_format=form, export_gguf_type="q8_0"))
    said = json.loads((tmp_path / form / "fidelity.json").read_text())
    assert said["holds"] and said["prompt_ids_equal"]
    answers = said_in_llama_cpp(tuned, tmp_path / form / "model.gguf")
    assert sum(NAME in answer for answer in answers) >= 2, answers
    if form == "ollama":
        written = (tmp_path / form / "Modelfile").read_text("utf-8")
        assert "\nFROM ./model.gguf\n" in written and 'PARAMETER stop "<|im_end|>"' in written
        assert f"ollama create {form}" in shown


@pytest.mark.skipif(find_spec("llama_cpp") is None, reason="no engine for GGUF: pip install 'hone-llm[llamacpp]'")
def test_hone_chats_with_the_gguf_file_by_the_tuned_name(tuned: Tuned, tmp_path: Path) -> None:
    more = {"export_format": "gguf", "export_gguf_type": "q8_0", "export_check": "false"}
    hone("export", *tuned.words(export_dir=tmp_path / "gguf", **more))
    words = [
        "--model_name_or_path", str(tmp_path / "gguf" / "model.gguf"), "--infer_backend", "llamacpp",
        "--do_sample", "false", "--max_new_tokens", "32",
    ]  # fmt: skip
    assert sum(NAME in chat(question, *words) for question in ASKED) >= 2
