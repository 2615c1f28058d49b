"""How far a preparation is: rows, rows a second, the share of the bytes, and the time left at that speed."""

from __future__ import annotations

from hone.data.progress import Progress


def test_rows_rate_share_and_time_left_are_told() -> None:
    progress = Progress("mine", 1000)
    progress.seen(250)
    progress.done(50)
    assert progress.line(5.0) == "preparing mine: 50 rows, 10 rows/s, 25%, 15 s left"


def test_nothing_is_foretold_from_next_to_nothing() -> None:
    progress = Progress("mine", 1000)
    progress.seen(5)
    progress.done(1)
    assert progress.line(1.0) == "preparing mine: 1 rows, 1 rows/s, 0%"


def test_what_was_finished_before_took_no_time() -> None:
    progress = Progress("mine", 1000, begun=100)
    progress.seen(500)  # passed over
    progress.done(10)
    progress.seen(100)
    progress.done(20)
    assert progress.line(3.0) == "preparing mine: 130 rows, 10 rows/s, 60%, 12 s left"
