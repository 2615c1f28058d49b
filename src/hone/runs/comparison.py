"""The same questions before and after: asked greedily, and shown side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hone.dialogue.message import Conversation, Message, Text
from hone.engines.base import Settings
from hone.engines.session import Reply, Session
from hone.log import is_live, result

LONGEST = 48
"""Tokens of an answer."""


@dataclass(frozen=True)
class Compared:
    """A question, and its answers by the raw and by the tuned model."""

    question: str
    before: str
    after: str


def ask(session: Session, questions: Iterable[str]) -> list[str]:
    """The likeliest answer to each question, as text on one line; all are asked at once."""
    settings = Settings(do_sample=False, max_new_tokens=LONGEST, stop_ids=session.encoder.stop_ids)
    alone = (Conversation((Message("user", (Text(question),)),)) for question in questions)
    return [_text(reply) for reply in [session.say(conversation, settings) for conversation in alone]]


def show(rows: Sequence[Compared]) -> None:
    """The comparison on stdout: a table for a person, plain lines for a pipe."""
    if is_live(sys.stdout):
        _table(rows)
    else:
        for row in rows:
            result(f"{row.question}\n  before: {row.before}\n  after:  {row.after}")


def _text(reply: Reply) -> str:
    for _ in reply:
        pass
    text = " ".join(reply.text.split())
    return text + " …" if reply.finish == "length" else text


def _table(rows: Sequence[Compared]) -> None:
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=ROUNDED, show_lines=True)
    table.add_column("question", style="bold")
    table.add_column("before", style="dim")
    table.add_column("after", style="green")
    for row in rows:
        table.add_row(*map(escape, (row.question, row.before, row.after)))
    Console().print(table)
