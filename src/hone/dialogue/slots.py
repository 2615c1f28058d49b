"""The smallest things a card is made of: slots with a hole for text, and the pieces that come out when they are filled.

A piece is tokenised on its own. It remembers, run by run, which text the card wrote (its control tokens count) and
which came from outside (it stays plain text, whatever it looks like).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from hone.errors import ModelError

BOS = "bos"
EOS = "eos"
HOLE = "{text}"


class Run(NamedTuple):
    """Some text, and whether the card itself wrote it."""

    text: str
    own: bool


class Piece(NamedTuple):
    """Text that is tokenised in one go; `runs` concatenate to `text`."""

    text: str
    runs: tuple[Run, ...]


class Mark(NamedTuple):
    """One token placed by id: the tokenizer's bos or eos (left out where it has none), or one of the vocabulary."""

    token: str
    role: str = ""  # "bos", "eos" or "" for a named token


Inked = Piece | Mark


class Hole(NamedTuple):
    """A slot string with a place for text; without a hole `after` is None and `before` is all there is."""

    before: str
    after: str | None


Slot = tuple[Hole | Mark, ...]


def own(text: str) -> Run:
    """Text that the card writes."""
    return Run(text, True)


def said(text: str) -> Run:
    """Text from a user, a data set, a tool or a model."""
    return Run(text, False)


def joined(runs: Iterable[Run]) -> str:
    """The runs as one string."""
    return "".join([run.text for run in runs])


def piece(runs: Iterable[Run]) -> Piece:
    """One piece of these runs, empty ones left out."""
    kept = [run for run in runs if run.text]
    return Piece(joined(kept), tuple(kept))


def read_slot(value: Any, *, where: str) -> Slot:
    """A slot as a card spells it: a string, `{special = "bos"}`, `{token = "<sep>"}`, or a list of those."""
    entries = value if isinstance(value, list) else [value]
    return tuple(_read_entry(entry, where) for entry in entries)


def _read_entry(entry: Any, where: str) -> Hole | Mark:
    if isinstance(entry, str):
        before, hole, after = entry.partition(HOLE)
        return Hole(before, after if hole else None)
    if isinstance(entry, dict) and entry.get("special") in (BOS, EOS) and len(entry) == 1:
        return Mark("", entry["special"])
    if isinstance(entry, dict) and isinstance(entry.get("token"), str) and len(entry) == 1:
        return Mark(entry["token"])
    raise ModelError.one(
        "TEMPLATE-CARD", f"`{entry}` is not a slot", where, 'write a string, {special = "bos"} or {token = "…"}'
    )


def fill(slot: Slot, content: tuple[Run, ...]) -> list[Inked]:
    """The slot with `content` in its hole: text is put in, never formatted; an empty string makes no piece."""
    filled: list[Inked] = []
    for part in slot:
        if isinstance(part, Mark):
            filled.append(part)
            continue
        runs = [own(part.before)] if part.before else []
        if part.after is not None:
            runs += [run for run in content if run.text]
            runs += [own(part.after)] if part.after else []
        if runs:
            filled.append(Piece(joined(runs), tuple(runs)))
    return filled


def literals(slot: Slot) -> list[str]:
    """Every text the card itself writes in this slot."""
    return [text for part in slot if isinstance(part, Hole) for text in (part.before, part.after) if text]
