"""A card's Modelfile: the conversation as a Go template, the default system text, and every stop word."""

from __future__ import annotations

import pytest

from hone.dialogue.compile.go import compile_go, modelfile
from hone.dialogue.template import load_template
from hone.errors import ModelError


def test_a_modelfile_has_the_template_the_default_system_text_and_the_stops() -> None:
    text = modelfile(load_template("qwen"), bos="", eos="<|endoftext|>", context=8192)
    assert text.splitlines()[:3] == ["# the template qwen, written by Hone", "", "FROM ."]
    assert 'SYSTEM """You are Qwen, created by Alibaba Cloud. You are a helpful assistant."""\n' in text
    assert text.endswith('PARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 8192\n')


def test_each_role_is_written_by_its_slot() -> None:
    assert compile_go(load_template("llama3"), bos="<B>", short=True) == (
        "<B>{{ if .System }}<|start_header_id|>system<|end_header_id|>\n\n{{ .System }}<|eot_id|>{{ end }}"
        '{{ range .Messages }}{{ if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>\n\n{{ .Content }}'
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        '{{ else if eq .Role "assistant" }}{{ .Content }}<|eot_id|>{{ end }}{{ end }}'
    )


def test_the_system_text_goes_into_the_first_question_where_the_card_says_so() -> None:
    text = compile_go(load_template("gemma3"), bos="<bos>")
    assert text.startswith(
        '<bos>{{ $told := false }}{{ range .Messages }}{{ if eq .Role "user" }}<start_of_turn>user\n'
    )
    assert "{{ if and $.System (not $told) }}{{ $.System }}\n\n{{ end }}{{ $told = true }}{{ .Content }}" in text


def test_the_end_token_is_the_one_that_the_card_makes_it() -> None:
    assert '"<|end|>"' not in modelfile(load_template("chatml"), bos="", eos="<|end|>")


@pytest.mark.parametrize("name", ["chatglm3", "yuan"])
def test_a_card_that_places_tokens_by_id_has_no_modelfile(name: str) -> None:
    with pytest.raises(ModelError, match="TEMPLATE-COMPILE"):
        modelfile(load_template(name), bos="", eos="")


def test_three_quotes_in_a_system_text_are_refused() -> None:
    with pytest.raises(ModelError, match="three quotes"):
        modelfile(load_template("chatml").with_options(default_system='say """'), bos="", eos="")
