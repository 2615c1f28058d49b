"""Slots: what a card may write in them, and what comes out when they are filled."""

from __future__ import annotations

import pytest

from hone.dialogue.slots import Hole, Mark, Piece, Run, fill, literals, own, read_slot, said
from hone.errors import ModelError


def test_a_slot_is_a_string_a_token_or_a_list_of_those() -> None:
    slot = read_slot([{"special": "bos"}, "[INST] {text} [/INST]", {"token": "<sep>"}, "end"], where="x.user")
    assert slot == (Mark("", "bos"), Hole("[INST] ", " [/INST]"), Mark("<sep>"), Hole("end", None))


@pytest.mark.parametrize("value", [3, {"special": "pad"}, {"token": 1}, {"special": "bos", "token": "x"}, [[]]])
def test_anything_else_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(ModelError, match=r"x\.user"):
        read_slot(value, where="x.user")


def test_text_is_put_in_and_never_formatted() -> None:
    slot = read_slot('{"content": {text}} {text}', where="")
    filled = fill(slot, (said("{text} {0} %s"),))
    assert [made.text for made in filled if isinstance(made, Piece)] == ['{"content": {text} {0} %s} {text}']


def test_a_piece_remembers_what_the_card_wrote() -> None:
    assert fill(read_slot("<u>{text}</u>", where=""), (said("hi"),)) == [
        Piece("<u>hi</u>", (Run("<u>", True), Run("hi", False), Run("</u>", True)))
    ]


def test_an_empty_string_makes_no_piece() -> None:
    assert fill(read_slot(["{text}", {"special": "eos"}], where=""), (said(""),)) == [Mark("", "eos")]


def test_literals_are_what_the_card_itself_writes() -> None:
    assert literals(read_slot(["a{text}b", {"token": "t"}, "c"], where="")) == ["a", "b", "c"]
    assert own("x").own and not said("x").own
