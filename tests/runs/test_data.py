"""`hone data check` and `hone data preview` as commands: what they print, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.cli.main import main
from hone.recipe import settle
from hone.runs.train import train

Data = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"instruction": f"How much is {n}?", "output": f"It is {n}."} for n in range(12)]
    (tmp_path / "few.json").write_text(json.dumps(rows))
    (tmp_path / "broken.jsonl").write_text(json.dumps(rows[0]) + '\n{"instruction": "x" "output": "y"}\n')
    book = {"few": {"file_name": "few.json"}, "broken": {"file_name": "broken.jsonl"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(book))
    return tmp_path


@pytest.fixture
def recipe(
    folder: Path, tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """`recipe(dataset="few")` gives the values of a training recipe."""
    monkeypatch.setenv("HONE_CACHE", str(folder / "cache"))

    def values(**changes: Any) -> dict[str, Any]:
        return {
            "model_name_or_path": str(tiny_model("llama")),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "template": "chatml",
            "dataset": "few",
            "dataset_dir": str(folder),
            "output_dir": str(folder / "run"),
            **changes,
        }

    return values


@pytest.fixture
def data(recipe: Callable[..., dict[str, Any]]) -> Data:
    """`data("check", "--json", dataset="few")` runs the verb and returns its exit code."""

    def call(verb: str, *words: str, **changes: Any) -> int:
        return main(["data", verb, *words, *(f"{key}={value}" for key, value in recipe(**changes).items())])

    return call


def test_healthy_data_give_a_table_and_zero(data: Data, capsys: Any, folder: Path) -> None:
    assert data("check") == 0
    printed = capsys.readouterr()
    assert "12 examples to train on" in printed.out
    assert "nothing stops a training" in printed.out
    assert "examples to train on" not in printed.err
    assert not (folder / "run").exists()


def test_broken_rows_give_three_and_their_places(data: Data, capsys: Any) -> None:
    assert data("check", dataset="few,broken") == 3
    printed = capsys.readouterr()
    assert "broken.jsonl:2:" in printed.err
    assert "faults that stop a training: 1" in printed.out


def test_broken_rows_that_may_be_skipped_give_zero(data: Data) -> None:
    assert data("check", dataset="few,broken", on_bad_row="skip") == 0


def test_json_is_one_value_on_stdout(data: Data, capsys: Any) -> None:
    assert data("check", "--json", dataset="few,broken") == 3
    told = json.loads(capsys.readouterr().out)
    assert told["fine"] is False
    assert told["faults"][0]["code"] == "DATA-JSON"
    assert [one["name"] for one in told["sets"]] == ["few", "broken"]


def test_json_even_when_nothing_can_be_read(data: Data, capsys: Any) -> None:
    assert data("check", "--json", dataset="nowhere") == 3
    assert json.loads(capsys.readouterr().out)["faults"][0]["code"] == "DATA-NAME"


def test_a_preview_marks_what_is_learned(data: Data, capsys: Any) -> None:
    assert data("preview", "--row", "3") == 0
    assert "⟦It is 2.<|im_end|>" in capsys.readouterr().out


def test_a_preview_as_a_page(data: Data, folder: Path) -> None:
    assert data("preview", "--html", str(folder / "page.html"), "--row=2") == 0
    assert "It" in (folder / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    "words", [("preview", "--row", "x"), ("preview", "--row", "0"), ("look",), ("preview", "--row")]
)
def test_wrong_words_give_two(words: tuple[str, ...]) -> None:
    assert main(["data", *words]) == 2


def test_no_weights_are_opened(recipe: Callable[..., dict[str, Any]]) -> None:
    words = [f"{key}={value}" for key, value in recipe().items()]
    code = (
        "import sys\nfrom hone.cli.main import main\n"
        f"code = main(['data', 'check', *{words!r}])\n"
        "print(code, 'hone.models.load' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "0 False"


def test_a_training_tells_of_its_data_once(recipe: Callable[..., dict[str, Any]], capsys: Any) -> None:
    train(settle(recipe(max_steps=1, use_cpu=True, report_to="none"), verb="train"))
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("12 examples to train on") == 1


def test_another_process_of_a_training_tells_nothing_of_it(
    recipe: Callable[..., dict[str, Any]], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hone.runs import train as page

    monkeypatch.setenv("RANK", "1")
    settled = settle(recipe(max_steps=1, use_cpu=True, report_to="none"), verb="train")
    page._prepare(settled, Path(settled.training.output_dir))
    printed = capsys.readouterr()
    assert "examples to train on" not in printed.out + printed.err
    assert "training example" not in printed.out + printed.err


def test_a_training_warns_of_cut_answers(recipe: Callable[..., dict[str, Any]], capsys: Any) -> None:
    from hone.runs import train as page

    settled = settle(recipe(cutoff_len=12), verb="train")
    page._prepare(settled, Path(settled.training.output_dir))
    printed = capsys.readouterr().err
    assert "DATA-STOP" in printed
    assert "DATA-CUT" in printed


def test_the_check_finds_questions_of_a_benchmark(data: Data, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = "How many miles has a horseman come who rides for three hours at nine miles an hour and then rests?"
    rows = [{"instruction": "Greet me.", "output": "Hello."}, {"instruction": f"Say: {question}", "output": "27"}]
    (folder / "few.json").write_text(json.dumps(rows))
    (folder / "riding_test.csv").write_text(f'"{question}",27,9,3,12,A\n')
    assert data("check", "--json", "--questions", str(folder / "riding_test.csv")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sets"][0]["benchmark_rows"] == [2]
    assert (found["questions"], found["questions_seen"]) == (1, 1)
    assert "DATA-BENCHMARK" in [warning["about"] for warning in found["warnings"]]
    assert data("check", "--questions", str(folder / "nothing.csv")) == 3
