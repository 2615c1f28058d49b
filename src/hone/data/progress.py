"""How far the preparation is, by the bytes that were read."""

from __future__ import annotations

from hone.log import LiveLine


class Progress(LiveLine):
    """Counts rows done and bytes read of `total` bytes. A context."""

    def __init__(self, name: str, total: int, *, begun: int = 0) -> None:
        """`begun`: rows that an earlier run has finished."""
        super().__init__()
        self.name = name
        self.begun = begun
        self.total = max(total, 1)
        self.bytes = 0
        self.passed = 0
        self.rows = 0

    def seen(self, count: int) -> None:
        """`count` more bytes were read."""
        self.bytes += count

    def done(self, rows: int) -> None:
        """`rows` more rows are finished."""
        if not self.rows:
            # Rows finished before were passed over in no time: the time left is not reckoned from their bytes.
            self.passed = self.bytes if self.begun else 0
        self.rows += rows
        self.refresh()

    def line(self, seconds: float) -> str:
        """What is shown after so many seconds."""
        share = min(self.bytes / self.total, 1.0)
        done = self.bytes - self.passed
        left = f", {seconds / done * max(self.total - self.bytes, 0):.0f} s left" if share > 0.01 and done > 0 else ""
        rate = f"{self.rows / seconds:,.0f} rows/s"
        return f"preparing {self.name}: {self.begun + self.rows:,} rows, {rate}, {share:.0%}{left}"
