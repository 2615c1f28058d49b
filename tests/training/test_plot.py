"""Curves: what goes into a file, and a terminal chart that a test can read."""

from __future__ import annotations

from pathlib import Path

from hone.training.plot import draw_files, draw_terminal, series, smoothed

HISTORY = [{"step": step, "loss": 4.0 / step} for step in range(1, 6)] + [
    {"step": 5, "eval_loss": 1.0},
    {"step": 5, "rewards/accuracies": 0.5},
    {"step": 6, "rewards/accuracies": 0.6},
    {"step": 6, "loss": float("nan")},
]


def test_a_series_is_the_finite_values_of_one_metric_by_step() -> None:
    assert series(HISTORY, "loss") == [(step, 4.0 / step) for step in range(1, 6)]


def test_smoothing_keeps_a_constant_and_calms_a_zigzag() -> None:
    assert all(abs(value - 2.0) < 1e-12 for value in smoothed([2.0] * 30))
    calm = smoothed([0.0, 1.0] * 50)
    assert max(calm[20:]) - min(calm[20:]) < 0.5


def test_a_file_for_each_metric_with_a_curve(tmp_path: Path) -> None:
    files = draw_files(HISTORY, tmp_path, ["loss", "eval_loss", "rewards/accuracies"])
    assert [file.name for file in files] == ["training_loss.png", "training_rewards_accuracies.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_the_terminal_chart_names_its_ends_and_falls_with_the_values() -> None:
    chart = draw_terminal([(step, 10.0 - step) for step in range(10)], title="loss", width=20, height=5).splitlines()
    assert chart[0] == "loss"
    assert chart[1].startswith("10 ┤") and chart[5].strip().startswith("1 ┤")
    assert chart[-1].split() == ["0", "9"]
    rows = [line.split("┤")[1] for line in chart[1:6]]
    assert rows[0][0] != "⠀" and rows[-1][-1] != "⠀" and rows[0][-1] == "⠀"


def test_values_alone_are_numbered_from_one_and_nothing_is_said_in_words() -> None:
    assert draw_terminal([3.0, 2.0, 1.0]).splitlines()[-1].split() == ["1", "3"]
    assert draw_terminal([], title="loss") == "loss: nothing to draw"
    assert len(draw_terminal([5.0]).splitlines()) == 14
