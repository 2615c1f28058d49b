"""Which template is chosen, in which order, and that a contradiction is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.errors import ModelError, RecipeError
from hone.recipe import settle
from hone.rundir import RunCard, write_card
from hone.runs.template import choose_encoder, find_card, template_options

CARD = RunCard(
    template="vicuna",
    template_options={"default_system": "Be brief.", "enable_thinking": True},
    base_model="org/base",
    base_fingerprint="abc",
)


@pytest.fixture
def tokenizer(tiny_model: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model("llama"))


def choose(tokenizer: Any, *, card: RunCard | None = None, base: str | None = None, **values: Any) -> Any:
    recipe = settle({"model_name_or_path": "nobody/knows-this", **values}, verb="chat")
    return choose_encoder(recipe.model, recipe.data, tokenizer, card=card, given=recipe.given, base=base)


def test_the_name_in_the_recipe_comes_first(tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = choose(tokenizer, template="alpaca", model_name_or_path="Qwen/Qwen3-8B")
    assert encoder.template.name == "alpaca"
    assert capsys.readouterr().err == "template alpaca: named in the recipe\n"


def test_the_card_speaks_where_the_recipe_does_not(tokenizer: Any) -> None:
    encoder = choose(tokenizer, card=CARD, base="abc", model_name_or_path="Qwen/Qwen3-8B")
    assert (encoder.template.name, encoder.template.default_system) == ("vicuna", "Be brief.")


def test_a_well_known_model_has_its_template_from_the_catalogue(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(tokenizer, model_name_or_path="Qwen/Qwen2.5-7B-Instruct").template.name == "qwen"
    assert "known for" in capsys.readouterr().err


def test_an_unknown_model_is_spoken_to_as_its_tokenizer_says(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from hone.dialogue.message import Conversation, Message, Text

    encoder = choose(tokenizer)
    asked = encoder.prompt(Conversation((Message("user", (Text("hi"),)),)))
    assert tokenizer.decode(asked) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert "derived" in capsys.readouterr().err


def test_without_any_of_these_the_names_near_are_offered(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match=r"template=…, for example: .*vicuna"):
        choose(tokenizer, model_name_or_path="nobody/vicuma")


@pytest.mark.parametrize(
    ("said", "both"),
    [
        ({"template": "alpaca"}, ["'alpaca'", "'vicuna'"]),
        ({"default_system": "Be long."}, ["'Be long.'", "'Be brief.'"]),
        ({"enable_thinking": False}, ["False", "True"]),
    ],
)
def test_a_contradiction_to_the_card_is_an_error_with_both_values(
    tokenizer: Any, said: dict[str, Any], both: list[str]
) -> None:
    with pytest.raises(RecipeError) as caught:
        choose(tokenizer, card=CARD, **said)
    assert all(value in str(caught.value) for value in both)


def test_all_contradictions_are_said_at_once(tokenizer: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        choose(tokenizer, card=CARD, template="alpaca", enable_thinking=False)
    assert len(caught.value.faults) == 2


def test_repeating_what_the_card_says_is_no_contradiction(tokenizer: Any) -> None:
    assert choose(tokenizer, card=CARD, template="vicuna", default_system="Be brief.").template.name == "vicuna"


def test_another_base_model_than_the_cards_is_refused_with_both(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match=r"org/base \(abc\), not on this model \(def\)"):
        choose(tokenizer, card=CARD, base="def")


def test_a_template_whose_tokens_the_model_lacks_is_refused(tokenizer: Any, tiny_model: Callable[[str], Path]) -> None:
    tokenizer.add_tokens([f"filler {number}" for number in range(512 - len(tokenizer))])
    with pytest.raises(ModelError, match=r"llama3 needs <\|eot_id\|>, <\|eom_id\|>, which.*does not know"):
        choose(tokenizer, template="llama3", model_name_or_path=str(tiny_model("llama")))


def test_a_run_remembers_what_was_said_and_what_an_earlier_card_said() -> None:
    recipe = settle({"model_name_or_path": "a/b", "tool_format": "qwen"}, verb="chat")
    options = template_options(recipe.data, card=CARD, given=recipe.given)
    assert (options["tool_format"], options["default_system"]) == ("qwen", "Be brief.")


def test_the_card_of_the_last_adapter_is_found_and_a_tuned_model_is_its_own_base(
    tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    for name, template in (("first", "alpaca"), ("last", "vicuna"), ("model", "chatml")):
        (tmp_path / name).mkdir()
        write_card(tmp_path / name, RunCard(template=template, base_fingerprint="abc"))

    def found(model: Path, *adapters: str) -> RunCard | None:
        paths = [str(tmp_path / adapter) for adapter in adapters]
        values = {"model_name_or_path": str(model), "adapter_name_or_path": paths}
        return find_card(settle(values, verb="chat").model)

    assert found(tmp_path / "model", "first", "last") == read(tmp_path / "last")
    tuned = found(tmp_path / "model")
    assert tuned is not None
    assert (tuned.template, tuned.base_fingerprint) == ("chatml", None)
    assert found(tiny_model("llama")) is None


def read(folder: Path) -> RunCard | None:
    from hone.rundir import read_card

    return read_card(folder)
