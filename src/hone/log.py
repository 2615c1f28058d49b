"""What Hone says on the terminal: plain lines on stderr, safe in any encoding, secrets masked."""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self, TextIO

MASK = "********"
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "WANDB_API_KEY", "SWANLAB_API_KEY", "API_KEY")
_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Never print this text; shorter ones than four characters are left, they would mask half of every line."""
    if len(secret) >= 4:
        _hidden.add(secret)


def masked(text: str) -> str:
    """The text without the secrets that are known: those of the recipe and those of the environment."""
    secrets = _hidden | {value for name in _TOKENS if len(value := os.environ.get(name, "")) >= 4}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def say(text: str = "", *, stream: TextIO | None = None) -> None:
    """One line to the user, on stderr unless told otherwise; stdout is for results."""
    stream = stream or sys.stderr
    line = _whole(masked(text)) + "\n"
    try:
        stream.write(line)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        return
    stream.flush()


def _whole(text: str) -> str:
    """Words of the command line that Python took apart under LANG=C, put together again."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not text.isascii() else text


def warn(text: str) -> None:
    """A line that begins with `warning:`, yellow on a terminal."""
    yellow, plain = ("\033[33m", "\033[0m") if colourful(sys.stderr) else ("", "")
    say(f"{yellow}warning:{plain} {text}")


def result(text: str) -> None:
    """What a command was asked for: on stdout, in UTF-8 whatever the locale, secrets masked."""
    say(text, stream=sys.stdout)


def is_live(stream: TextIO | None = None) -> bool:
    """Whether a person watches, so that a line may be redrawn: a terminal, and not a dumb one."""
    stream = stream or sys.stderr
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class LiveLine(ABC):
    """How far long work is: a line redrawn on a terminal, written now and then elsewhere, nothing when it is quick.

    A context: the redrawn line is wiped at its end."""

    QUICK, LIVE_EVERY, PLAIN_EVERY = 1.0, 0.2, 10.0
    """Seconds before the first line, and between two."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._next = self.began + self.QUICK
        self._drawn = False

    @abstractmethod
    def line(self, seconds: float) -> str:
        """What is shown after so many seconds."""

    def refresh(self) -> None:
        """Show the line, if its time has come."""
        now = time.monotonic()
        if now < self._next:
            return
        live = is_live()
        self._next = now + (self.LIVE_EVERY if live else self.PLAIN_EVERY)
        if live:
            sys.stderr.write(f"\r\x1b[K{masked(self.line(now - self.began))}")
            sys.stderr.flush()
            self._drawn = True
        else:
            say(self.line(now - self.began))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def colourful(stream: TextIO) -> bool:
    """Whether colours are wanted there (see no-color.org)."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


def use_utf8() -> None:
    """Let stdout and stderr write UTF-8 even under LANG=C; what a stream cannot write is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(encoding="utf-8", errors="backslashreplace")
