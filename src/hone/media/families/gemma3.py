"""Gemma 3: a fixed number of tokens between its words; a long picture also in crops, where pan and scan is on."""

from __future__ import annotations

import math

from hone.media.expand import Grounds, Picture, Span
from hone.media.presize import Size

END = "<end_of_image>"
BEFORE, BETWEEN = "Here is the original image ", " and here are some crops to help you see better "


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """The picture, and its crops after it."""
    begin = str(grounds.number("boi_token", "<start_of_image>"))
    if not grounds.whole:
        return [Span(begin)]
    seen = grounds.seen("image", int(grounds.number("tokens_per_image", grounds.number("image_seq_length", 256))))
    whole = [Span(f"\n\n{begin}"), seen, Span(f"{END}\n\n")]
    if not grounds.number("image_do_pan_and_scan", False):
        return whole
    spans = [Span(BEFORE), *whole, Span(BETWEEN)]
    for place in range(crops(grounds.sized(picture), grounds)):
        spans += [Span(" " if place else ""), *whole]
    return spans


def crops(size: Size, grounds: Grounds) -> int:
    """How many crops a picture is shown in: along its longer side, none where it is nearly square or too small."""
    longer, shorter = max(size), min(size)
    least = int(grounds.number("pan_and_scan_min_crop_size", 256))
    if longer / shorter < float(grounds.number("pan_and_scan_min_ratio_to_activate", 1.2)):
        return 0
    count = min(math.floor(longer / least), math.floor(longer / shorter + 0.5))
    count = min(int(grounds.number("pan_and_scan_max_num_crops", 4)), max(2, count))
    return 0 if min(math.ceil(longer / count), shorter) < least else count
