"""LLaVA-NeXT: the whole picture and its tiles on the best of some canvases, what pads the canvas left out again."""

from __future__ import annotations

from collections.abc import Sequence

from hone.media.expand import Grounds, Picture, Span
from hone.media.presize import Size


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """Tokens of the whole picture, of its tiles, and one at the end of each row of these."""
    return [grounds.seen("image", _features(grounds.sized(picture), grounds) if grounds.whole else 1)]


def _features(size: Size, grounds: Grounds) -> int:
    tile, patch = _tile(grounds), int(grounds.number("patch_size"))
    canvases = grounds.numbers.get("image_processor", {}).get("grid_pinpoints_hw")
    rows, columns = best_canvas(size, canvases or grounds.number("image_grid_pinpoints"))
    side = tile // patch
    tall, wide = _unpadded(size, (side * (rows // tile), side * (columns // tile)))
    whole = side * side + int(grounds.number("num_additional_image_tokens", 0))
    left_out = grounds.number("vision_feature_select_strategy", "default") == "default"
    return whole + tall * wide + tall - left_out


def best_canvas(size: Size, canvases: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Height and width of the canvas on which most of the picture's pixels count, then of the least waste."""
    width, height = size

    def worth(canvas: Sequence[int]) -> tuple[int, int]:
        share = min(canvas[1] / width, canvas[0] / height)
        used = min(int(width * share) * int(height * share), width * height)
        return used, used - canvas[0] * canvas[1]

    found = max(canvases, key=worth)
    return int(found[0]), int(found[1])


def _unpadded(size: Size, grid: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the grid that hold some of the picture."""
    (width, height), (rows, columns) = size, grid
    if width / height > columns / rows:
        return rows - (rows - int(round(height * (columns / width), 7))) // 2 * 2, columns
    return rows, columns - (columns - int(round(width * (rows / height), 7))) // 2 * 2


def _tile(grounds: Grounds) -> int:
    found = grounds.numbers.get("image_processor", {}).get("tile") or grounds.number("crop_size")
    return int(found["height"] if isinstance(found, dict) else found)
