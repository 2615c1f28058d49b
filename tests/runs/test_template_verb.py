"""`hone template`: what it prints, and its exit codes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from hone.cli.main import main
from hone.dialogue.compile.jinja import compile_jinja
from hone.dialogue.template import load_template, template_names
from hone.runs.template_comparison import MATRIX, compare
from hone.runs.template_verb import parents, sample, settled

DIALOGUE = Path(__file__).parent.parent / "dialogue" / "conftest.py"


def make_tokenizer() -> Any:
    """The small tokenizer of the dialogue tests, fresh."""
    found = importlib.util.spec_from_file_location("dialogue_conftest", DIALOGUE)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.make_tokenizer()


def test_list_names_every_card_and_why_one_has_no_chat_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(template_names())
    assert "placed by id" in next(line for line in lines if line.startswith("chatglm3"))
    assert next(line for line in lines if line.startswith("gemma4 ")).split() == ["gemma4", "gemma4", "yes", "yes"]


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["qwen3"] == {
        "name": "qwen3",
        "tools": "qwen",
        "thinks": True,
        "stop": ["<|im_end|>"],
        "jinja_refusal": None,
    }


def test_show_prints_the_card_a_sample_and_the_chat_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "show", "qwen3"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("qwen3 → qwen3_nothink → qwen → chatml\n")
    assert '["<|im_end|>"]' in shown
    assert "⟦<think>\n\n</think>\n\nFour.<|im_end|>\n⟧" in shown
    assert shown.rstrip().endswith(compile_jinja(load_template("qwen3")))


@pytest.mark.parametrize("name", template_names())
def test_every_card_can_be_shown(name: str) -> None:
    template = load_template(name)
    assert sample(template).count("⟦") in (1, 2)
    assert "user" in settled(template) and name not in parents(name)


@pytest.mark.parametrize(
    "words", [[], ["lst"], ["show"], ["list", "x"], ["compare", "qwen3"], ["compare", "qwen3", "--to", "x"]]
)
def test_wrong_words_are_refused_with_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", *words]) == 2
    assert "usage: hone template" in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "show", "qwen33"]) == 4
    assert "did you mean qwen3?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["smollm2", "qwen3", "qwen", "qwen3_5", "chatml"])
def test_a_compiled_chat_template_gives_the_ids_of_the_encoder(name: str) -> None:
    """Typed control words aside: a text that is tokenised in one go cannot keep them apart."""
    template, tokenizer = load_template(name), make_tokenizer()
    tokenizer.chat_template = compile_jinja(template)
    apart = {one.conversation for one in compare(template, tokenizer) if not one.equal and not one.spelled}
    assert apart <= {"control words typed"}


def test_compare_prints_each_conversation_and_the_first_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = compile_jinja(load_template("smollm2"))
    tokenizer.save_pretrained(tmp_path)
    assert main(["template", "compare", "smollm2", "--tokenizer", str(tmp_path)]) == 0
    assert f"{len(MATRIX) * 2} of {len(MATRIX) * 2} equal" in capsys.readouterr().out
    assert main(["template", "compare", "chatml_de", "--tokenizer", str(tmp_path)]) == 4
    said = capsys.readouterr().out
    assert "from token" in said and "Gib" not in said.splitlines()[0]


def test_compare_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = compile_jinja(load_template("smollm2"))
    tokenizer.save_pretrained(tmp_path)
    main(["template", "compare", "smollm2", "--tokenizer", str(tmp_path), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["conversation"] == "one turn" and rows[0]["equal"] is True


def test_a_tokenizer_without_a_chat_template_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    assert main(["template", "compare", "smollm2", "--tokenizer", str(tmp_path)]) == 4
    assert "has no chat template" in capsys.readouterr().err
