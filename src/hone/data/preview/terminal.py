"""The preview on a terminal: learned tokens in colour, or between marks where there are none; then the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from hone.data.preview import Shown
from hone.data.preview.ink import Token

LEARNED, GIVEN, PLAIN = "\033[1;32m", "\033[2m", "\033[0m"
OPEN, CLOSE = "⟦", "⟧"
WIDE = 60


def text(shown: Shown, *, colours: bool) -> str:
    """The whole: a head line, the text, and one line for each span."""
    return "\n".join([*head(shown), "", _body(shown, colours), "", *_table(shown)])


def head(shown: Shown) -> Iterator[str]:
    """What is shown: row, template, counts."""
    count = len(shown.tokens)
    yield f"row {shown.row} of {shown.dataset} ({shown.file}), template {shown.template}"
    cut = f", {shown.lost:,} more were cut off" if shown.lost else ""
    yield f"{count:,} tokens, {shown.learned:,} learned{cut}"
    if shown.dropped:
        yield f"left out of training: {shown.dropped}"


def spans(shown: Shown) -> Iterator[tuple[int, int, Token, Sequence[Token]]]:
    """Neighbouring tokens of one kind and reason: first and last place, one of them, all of them."""
    place = 0
    for _, group in groupby(shown.tokens, key=lambda token: (token.kind, token.learned, token.why)):
        tokens = list(group)
        yield place, place + len(tokens) - 1, tokens[0], tokens
        place += len(tokens)


def visible(text: str) -> str:
    """The text without anything that could steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def _body(shown: Shown, colours: bool) -> str:
    pieces = []
    for learned, group in groupby(shown.tokens, key=lambda token: token.learned):
        said = visible(joined(list(group)))
        before, after = (LEARNED if learned else GIVEN, PLAIN) if colours else (OPEN, CLOSE) if learned else ("", "")
        pieces.append(f"{before}{said}{after}")
    return "".join(pieces)


def joined(tokens: Sequence[Token]) -> str:
    """Their text."""
    return "".join(token.text for token in tokens)


def _table(shown: Shown) -> Iterator[str]:
    yield f"{'tokens':>11}  {'part of':<12} {'':<8} {'why':<26} the tokens, between bars"
    for first, last, one, tokens in spans(shown):
        said = visible("│".join(token.text for token in tokens if token.text)).replace("\n", "\\n")
        short = said if len(said) <= WIDE else f"{said[: WIDE - 1]}…"
        place = f"{first}–{last}" if last > first else f"{first}"
        yield f"{place:>11}  {one.kind:<12} {'learned' if one.learned else '':<8} {one.why:<26} {short}"
