"""The terminal's side of a talk: the prompt, and an answer shown piece by piece, its thoughts dimmed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import TextIO

from hone.dialogue.message import Media, Part, Text, Thought, ToolCall
from hone.log import colourful

ASK, ANSWER = "User: ", "Assistant: "
DIM, BOLD, PLAIN = "\033[2m", "\033[1m", "\033[0m"


class Writer:
    """Asks and shows, on the given stream. Without colours a thought stands between the family's own words."""

    def __init__(self, thought_words: tuple[str, str], stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.colour = colourful(self.stream)
        self.thought_words = (DIM, PLAIN + "\n\n") if self.colour else thought_words
        if hasattr(self.stream, "reconfigure"):  # an answer may hold what the locale cannot write
            self.stream.reconfigure(errors="backslashreplace")

    def ask(self, prompt: str | None = None) -> str:
        """The next line; one that begins a message is trimmed on both sides, others at their end.

        Raises EOFError at the end of the input, KeyboardInterrupt for Ctrl-C.
        """
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (arrow keys and earlier lines, where the system has it)
        line = input(f"\n{ASK}" if prompt is None else prompt)
        read = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace").rstrip()
        return read.lstrip() if prompt is None else read

    def answer(self, parts: Iterable[Part]) -> None:
        """Show an answer while it comes. Ctrl-C stops it; what was shown stays."""
        thinking = False
        try:
            self._write(f"{BOLD}{ANSWER}{PLAIN}" if self.colour else ANSWER)
            for part in parts:
                if isinstance(part, Thought) is not thinking:
                    thinking = not thinking
                    self._write(self.thought_words[0 if thinking else 1])
                self._write(_shown(part))
        except KeyboardInterrupt:
            self._write(f"{PLAIN} [stopped]" if self.colour else " [stopped]")
        self._write(f"{PLAIN}\n" if self.colour else "\n")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def _shown(part: Part) -> str:
    if isinstance(part, Text | Thought):
        return part.text
    if isinstance(part, ToolCall):
        return f"\n[calls {part.name} with {part.arguments}]"
    return f"[{part.kind}]" if isinstance(part, Media) else "\n"
