"""How many of a known number of things are done, at what rate, and the time left."""

from __future__ import annotations

from hone.log import LiveLine


class Gauge(LiveLine):
    """Counts `total` things, called `things`, `begun` of which an earlier run has done. A context."""

    def __init__(self, title: str, total: int, *, things: str, begun: int = 0) -> None:
        super().__init__()
        self.title, self.total, self.things, self.begun = title, total, things, begun
        self.done, self.tokens = 0, 0

    def add(self, count: int = 1, *, tokens: int = 0) -> None:
        """So many more are done."""
        self.done += count
        self.tokens += tokens
        self.refresh()

    def line(self, seconds: float) -> str:
        """What is shown after so many seconds."""
        left = (self.total - self.begun - self.done) * seconds / self.done if self.done else 0.0
        tokens = f", {self.tokens / seconds:,.0f} tokens/s" if self.tokens else ""
        rate = f"{self.done / seconds:.2f} {self.things}/s{tokens}"
        return f"{self.title}: {self.begun + self.done:,}/{self.total:,} {self.things}, {rate}, {left:.0f} s left"
