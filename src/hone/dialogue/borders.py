"""Where a piece may be cut before it is tokenised: at the card's own control tokens and line ends.

Sections repeat far more often than pieces (what the card writes is the same for each row), so each is tokenised once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from hone.dialogue.slots import Piece, Run, joined
from hone.dialogue.words import is_blank


class Borders:
    """Finds the borders between a card's own words and text from outside that no token reaches across.

    For tokenizers that `hone.dialogue.words` knows, and pieces in which no text from outside makes a control token.
    """

    def __init__(self, added: Iterable[str]) -> None:
        """`added`: the tokens that are found in a text before anything else is."""
        self._added = tuple(added)
        self._ends: dict[str, bool] = {}
        self._begins: dict[str, bool] = {}

    def sections(self, made: Piece) -> Iterator[str]:
        """The piece's text in parts that may be tokenised alone."""
        return map(joined, self.grouped(made.runs))

    def grouped(self, runs: Sequence[Run]) -> list[list[Run]]:
        """The runs, none of them empty, in groups that may be tokenised alone."""
        groups = [[run] for run in runs[:1]]
        for before, after in pairwise(runs):
            if self._parts(before, after):
                groups.append([after])
            else:
                groups[-1].append(after)
        return groups

    def _parts(self, before: Run, after: Run) -> bool:
        if before.own:
            return not is_blank(after.text[0]) and _once(self._ends, before.text, self._ends_alone)
        return after.own and _once(self._begins, after.text, self._begins_alone)

    def _ends_alone(self, text: str) -> bool:
        """Whether whatever follows the text, and is no white space, is tokenised by itself."""
        ended = text.endswith(self._added) or (text.endswith("\n") and not is_blank(text[-2:-1] or "\n"))
        return ended and not any(
            text.endswith(word[:cut]) or word[:cut].endswith(text)
            for word in self._added
            for cut in range(1, len(word))
        )

    def _begins_alone(self, text: str) -> bool:
        """Whether whatever stands before the text is tokenised by itself."""
        begun = text.startswith(self._added)
        return begun and not any(
            text.startswith(word[cut:]) or word[cut:].startswith(text)
            for word in self._added
            for cut in range(1, len(word))
        )


def _once(known: dict[str, bool], text: str, find: Callable[[str], bool]) -> bool:
    found = known.get(text)
    if found is None:
        found = known[text] = find(text)
    return found
