"""Cards: every one loads, children state only the difference, options make another template."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hone.dialogue.template import CARDS, load_template, read_card, template_names
from hone.dialogue.tools import dialect
from hone.errors import ModelError


def test_every_name_of_the_field_has_a_card() -> None:
    assert len(template_names()) == 124
    assert {"default", "empty", "chatml", "llama3", "qwen3", "openchat-3.6", "smollm2"} <= set(template_names())


@pytest.mark.parametrize("name", template_names())
def test_a_card_loads_with_its_dialects_and_begins_with_a_comment(name: str) -> None:
    template = load_template(name)
    assert template.name == name
    assert dialect(template.calls) and (template.tools is None or dialect(template.tools))
    assert (CARDS / f"{name}.toml").read_text(encoding="utf-8").startswith("# ")


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ModelError, match="did you mean qwen3") as caught:
        load_template("qwen33")
    assert caught.value.exit_code == 4 and caught.value.faults[0].code == "TEMPLATE-UNKNOWN"


def test_a_child_states_only_the_difference() -> None:
    parent, child = load_template("qwen3_nothink"), load_template("qwen3")
    assert child.user == parent.user and child.stop == parent.stop
    assert parent.thinking is None and child.thinking is not None


def test_unknown_keys_of_a_card_are_all_named() -> None:
    with pytest.raises(ModelError) as caught:
        read_card("mine", {"usr": "x", "asistant": "y"})
    assert len(caught.value.faults) == 2


def test_calls_are_written_like_answers_and_results_like_questions_unless_said_otherwise() -> None:
    card = read_card("mine", {"user": "Q{text}", "assistant": "A{text}"})
    assert card.call == card.assistant and card.result == card.user
    assert read_card("mine", {"efficient_eos": True}).assistant != read_card("mine", {}).assistant


def test_options_change_the_template_and_its_fingerprint() -> None:
    card = load_template("qwen3")
    quiet = card.with_options(enable_thinking=False)
    assert quiet.thinking is not None and quiet.thinking.enable is False
    made = [
        card,
        quiet,
        card.with_options(enable_thinking=None),
        card.with_options(preserve_thinking=True),
        card.with_options(default_system="x"),
        card.with_options(tool_format="mistral"),
    ]
    assert len({template.fingerprint() for template in made}) == len(made)
    assert card.with_options().fingerprint() == card.fingerprint()


def test_thinking_options_mean_nothing_to_a_family_that_does_not_reason() -> None:
    assert load_template("chatml").with_options(enable_thinking=False) == load_template("chatml")


def test_dialogue_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, hone.dialogue.encoder, hone.dialogue.parse, hone.dialogue.derive; "
        "sys.exit(bool({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
