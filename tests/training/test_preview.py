"""The first example as it is shown: whole where it is text, short where one token stands for a whole picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from hone.dialogue.example import IGNORED, Example
from hone.dialogue.message import Media
from hone.training.preview import LONG, preview


class Letters:
    """A tokenizer of one letter a token: 1 is a, 2 is b ..."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(chr(96 + token) for token in ids)


def example(ids: list[int], labels: list[int], media: tuple[Media, ...] = ()) -> Example:
    return Example(np.array(ids, np.int32), np.array(labels, np.int32), media=media)


def test_text_is_shown_whole() -> None:
    ids = [1, 2, *[3] * LONG, 4]
    labels = [*[IGNORED] * (len(ids) - 1), 4]
    shown = preview(example(ids, labels), Letters()).splitlines()
    assert shown[2] == str(ids)
    assert shown[4] == "ab" + "c" * LONG + "d"
    assert shown[6] == str(labels)
    assert shown[8] == "d"


def test_the_places_of_a_picture_are_counted() -> None:
    ids = [1, 2, *[3] * 1024, 4, 5]
    labels = [*[IGNORED] * (len(ids) - 1), 5]
    shown = preview(example(ids, labels, (Media("image", "a.png"),)), Letters()).splitlines()
    assert shown[2] == "[1, 2, 3 x 1024, 4, 5]"
    assert shown[4] == "ab[c x 1024]de"
    assert shown[6] == f"[{IGNORED} x 1027, 5]"
    assert shown[8] == "e"
