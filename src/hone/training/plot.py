"""Curves of a run: PNG files for the run directory, and a small chart of dots for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Point = tuple[float, float]
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille cell: four rows of two dots."""


def series(history: Iterable[Mapping[str, Any]], name: str) -> list[Point]:
    """(step, value) of one metric in the log history of `trainer_state.json`; values that are not finite left out."""
    points = [(event["step"], event[name]) for event in history if "step" in event and name in event]
    return [(float(step), float(value)) for step, value in points if math.isfinite(value)]


def smoothed(values: Sequence[float]) -> list[float]:
    """A moving average that forgets half in a twentieth of the series, without the pull of an arbitrary beginning."""
    keep = 0.5 ** (20 / max(len(values), 20))
    total = weight = 0.0
    smooth: list[float] = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        smooth.append(total / weight)
    return smooth


def draw_files(history: Sequence[Mapping[str, Any]], folder: Path, names: Iterable[str]) -> list[Path]:
    """`training_<name>.png` for each metric that has at least two points; a "/" in a name becomes "_"."""
    found = {name: series(history, name) for name in names}
    return [_draw_file(points, name, folder) for name, points in found.items() if len(points) > 1]


def _draw_file(points: Sequence[Point], name: str, folder: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    axes = figure.subplots()
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color="#9db7d5", linewidth=1, label="as measured")
    axes.plot(steps, smoothed(values), color="#1f4e8c", linewidth=2, label="smoothed")
    axes.set(xlabel="step", ylabel=name.replace("_", " "), title=f"training: {name.replace('_', ' ')}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    file = folder / f"training_{name.replace('/', '_')}.png"
    figure.savefig(file, format="png")
    return file


def draw_terminal(points: Sequence[Point | float], *, title: str = "", width: int = 60, height: int = 12) -> str:
    """The curve as braille dots, with its highest and lowest value and its first and last step.

    Values alone are numbered from 1. `width` and `height` are in characters. An empty series gives a sentence instead.
    """
    pairs = [p if isinstance(p, tuple) else (float(n), p) for n, p in enumerate(points, 1)]
    pairs = [pair for pair in pairs if math.isfinite(pair[1])]
    if not pairs:
        return f"{title}: nothing to draw" if title else "nothing to draw"
    low, high = min(value for _, value in pairs), max(value for _, value in pairs)
    labels = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    rows = [
        f"{label:>{margin}} ┤{row}" for label, row in zip(labels, _cells(pairs, low, high, width, height), strict=True)
    ]
    first, last = f"{pairs[0][0]:g}", f"{pairs[-1][0]:g}"
    axis = f"{'':>{margin}} └{'─' * width}"
    foot = f"{'':>{margin}}  {first}{last:>{max(width - len(first), 1)}}"
    return "\n".join([*([title] if title else []), *rows, axis, foot])


def _cells(pairs: Sequence[Point], low: float, high: float, width: int, height: int) -> list[str]:
    """The dots, joined from point to point, as `height` rows of `width` braille characters."""
    across, down = 2 * width - 1, 4 * height - 1
    start, end = pairs[0][0], pairs[-1][0]
    places = [
        (round((step - start) / ((end - start) or 1) * across), round((high - value) / ((high - low) or 1) * down))
        for step, value in pairs
    ]
    cells = [[0] * width for _ in range(height)]
    for (x, y), (next_x, next_y) in zip(places, [*places[1:], places[-1]], strict=True):
        length = max(abs(next_x - x), abs(next_y - y), 1)
        for part in range(length + 1):
            column = x + round((next_x - x) * part / length)
            row = y + round((next_y - y) * part / length)
            cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return ["".join(chr(0x2800 + cell) for cell in row) for row in cells]
