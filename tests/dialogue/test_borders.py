"""A piece cut at its borders gives the ids of the whole piece."""

from __future__ import annotations

import random
from typing import Any

import pytest
from test_words import KINDS, LETTERS, PARTS, asked, trained
from tokenizers import AddedToken

from hone.dialogue.borders import Borders
from hone.dialogue.slots import own, piece, said

OWN = ["<|end|>\n", "<|end|>user\n", "\n", "\n\n", "<|end|>", "user:", "x\n", " \n", "<|end|>\n<|start|>model\n", "<b>"]


def tokenizer(kind: str) -> Any:
    step, normalizer = KINDS[kind]
    backend = trained(step, normalizer=normalizer)
    backend.add_tokens([AddedToken(word, normalized=False) for word in ("<|start|>", "<|en", "b><", "r:a")])
    return backend


@pytest.mark.parametrize("kind", KINDS)
def test_sections_alone_give_the_ids_of_the_piece(kind: str) -> None:
    backend = tokenizer(kind)
    borders = Borders(token.content for token in backend.get_added_tokens_decoder().values())
    chance = random.Random(3)
    cut = 0
    for _ in range(2000):
        words = ["".join(chance.choices([*LETTERS, *PARTS], k=chance.randint(0, 5))) for _ in range(2)]
        made = piece([own(chance.choice(OWN)), said(words[0]), own(chance.choice(OWN)), said(words[1])])
        sections = list(borders.sections(made))
        assert "".join(sections) == made.text
        assert b"".join(asked(backend, sections)) == asked(backend, [made.text])[0], sections
        cut += len(sections) - 1
    assert cut > 1000


def test_a_card_is_cut_at_its_control_tokens_and_line_ends_but_not_before_white_space() -> None:
    borders = Borders(["<|im_start|>", "<|im_end|>"])
    opening, ending = own("<|im_start|>user\n"), own("<|im_end|>\n")
    assert list(borders.sections(piece([opening, said("hi"), ending]))) == [opening.text, "hi", ending.text]
    assert list(borders.sections(piece([opening, said(" hi"), ending]))) == [opening.text + " hi", ending.text]
    assert list(borders.sections(piece([own("Human: "), said("hi"), own("\n")]))) == ["Human: hi\n"]
    assert list(Borders(["x<|im_end|>"]).sections(piece([said("x"), ending]))) == ["x" + ending.text]
