"""The format of a row is recognised where nobody declared it, and what is not recognised says what was looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hone.data.book import OPEN_COLUMNS, Entry
from hone.data.formats import load_format
from hone.data.row import RowFault
from hone.dialogue.message import Media
from hone.dialogue.records import Chat, Feedback, Preference, Record

OPEN = Entry("x", "file", "x.jsonl", columns=OPEN_COLUMNS, root=Path(), declared=False)


def record(row: dict[str, Any]) -> Record:
    return load_format(OPEN.format)(row, OPEN)


def said(row: dict[str, Any]) -> list[tuple[str, str]]:
    made = record(row)
    assert isinstance(made, Chat | Feedback)
    return [(message.role, message.text) for message in made.conversation.messages]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def bot(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


ASKED = [("user", "q"), ("assistant", "a")]
CHATS = {
    "alpaca": {"instruction": "q", "input": "", "output": "a"},
    "alpaca without input": {"instruction": "q", "output": "a"},
    "question and answer": {"question": "q", "answer": "a", "id": 5},
    "prompt and response": {"prompt": "q", "response": "a"},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "sharegpt with the other names": {"conversations": [{"from": "user", "value": "q"},
                                                        {"from": "assistant", "value": "a"}]},
    "openai": {"messages": [user("q"), bot("a")]},
    "openai under another key": {"conversations": [user("q"), bot("a")]},
    "messages as JSON text": {"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'},
    "messages turned over": {"conversations": {"from": ["human", "gpt"], "value": ["q", "a"]}},
    "prompt and completion": {"prompt": "q", "completion": "a"},
    "prompt and completion as messages": {"prompt": [user("q")], "completion": [bot("a")]},
}  # fmt: skip


@pytest.mark.parametrize("row", CHATS.values(), ids=CHATS)
def test_a_conversation_is_recognised(row: dict[str, Any]) -> None:
    assert isinstance(record(row), Chat)
    assert said(row) == ASKED


HH = "\n\nHuman: q\n\nAssistant: "
PAIRS = {
    "texts": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "texts with an instruction": {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
    "messages": {"prompt": [user("q")], "chosen": [bot("a")], "rejected": [bot("b")]},
    "a text and messages": {"prompt": "q", "chosen": [bot("a")], "rejected": [bot("b")]},
    "messages without a prompt": {"chosen": [user("q"), bot("a")], "rejected": [user("q"), bot("b")]},
    "messages that repeat the prompt": {"prompt": "q", "chosen": [user("q"), bot("a")],
                                        "rejected": [user("q"), bot("b")]},
    "spoken texts": {"chosen": HH + "a", "rejected": HH + "b"},
    "texts without a prompt": {"chosen": "q a", "rejected": "q b"},
    "messages and message objects": {"conversations": [{"from": "human", "value": "q"}],
                                     "chosen": {"from": "gpt", "value": "a"},
                                     "rejected": {"from": "gpt", "value": "b"}},
    "openai messages and message objects": {"messages": [user("q")], "chosen": bot("a"), "rejected": bot("b")},
}  # fmt: skip


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS)
def test_a_better_and_a_worse_answer_are_recognised(row: dict[str, Any]) -> None:
    made = record(row)
    assert isinstance(made, Preference)
    assert [message.text for message in made.prompt.messages] == ["q"]
    assert (made.chosen.text, made.rejected.text) == ("a", "b")


def test_a_tag_makes_it_feedback() -> None:
    for row in ({"prompt": "q", "completion": "a", "label": False}, {"messages": [user("q"), bot("a")], "label": False},
                {"instruction": "q", "output": "a", "kto_tag": False}):  # fmt: skip
        made = record(row)
        assert isinstance(made, Feedback)
        assert not made.good


def test_of_a_prompt_with_answers_only_the_completion_is_learned() -> None:
    made = record({"prompt": [user("q"), bot("a"), user("r")], "completion": [bot("b")]})
    assert isinstance(made, Chat)
    assert [message.learn for message in made.conversation.messages] == [None, False, None, None]


def test_plain_text_is_a_question_alone_which_is_what_plain_text_training_takes() -> None:
    assert said({"text": "some words"}) == [("user", "some words")]


def test_what_stands_beside_is_taken_along() -> None:
    made = record(
        {"instruction": "<image>q", "output": "a", "system": "s", "history": [["h", "i"]], "images": ["p.png"]}
    )
    assert isinstance(made, Chat)
    assert [message.text for message in made.conversation.messages] == ["s", "h", "i", "q", "a"]
    assert Media("image", "p.png") in made.conversation.messages[3].parts


def test_an_unknown_row_says_what_it_has_and_what_was_looked_for() -> None:
    with pytest.raises(
        RowFault, match=r"no known format: the row has `quest`, `reply`; looked for `messages` or"
    ) as raised:
        record({"quest": "q", "reply": "a"})
    assert raised.value.code == "DATA-FORMAT"


FAULTS = {
    "a list of texts": ({"messages": ["q", "a"]}, "holds no messages"),
    "two answers": ({"prompt": "q", "chosen": [bot("a"), user("r"), bot("c")], "rejected": [bot("b")]}, "one answer"),
    "nothing in common": ({"chosen": "a", "rejected": "b"}, "nothing in common"),
    "a missing side": ({"prompt": "q", "chosen": "a", "rejected": None}, "`rejected` is missing"),
    "broken JSON text": ({"messages": "[{"}, "`messages` is not valid JSON"),
    "a number": ({"prompt": 5, "completion": "a"}, "neither text nor a list of messages"),
}


@pytest.mark.parametrize(("row", "what"), FAULTS.values(), ids=FAULTS)
def test_a_recognised_row_that_does_not_fit_is_a_fault(row: dict[str, Any], what: str) -> None:
    with pytest.raises(RowFault, match=what):
        record(row)
