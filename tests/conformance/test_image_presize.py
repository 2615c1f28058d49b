"""Pictures get the sizes that the corpus has before a processor sees them."""

from __future__ import annotations

from typing import Any

from corpus import Tally, cases, needs_corpus

from hone.errors import DataError
from hone.media.presize import presized

FAMILY = "image_presize"


def outcome(case: dict[str, Any]) -> Any:
    """The size, or None where there is none."""
    bounds = {name: case[name] for name in ("max_pixels", "min_pixels")}
    try:
        return list(presized(tuple(case["image_size_wh"]), rule=case["rule"], **bounds))
    except DataError:
        return None


@needs_corpus
def test_pictures_are_sized_as_the_corpus_says(tally: Tally) -> None:
    faults = []
    for case in cases(FAMILY):
        made = outcome(case)
        fault = None if made == case["expect"].get("size_wh") else f"sized {made}, not {case['expect']}"
        faults.append(tally.judge(FAMILY, case["id"], fault))
    assert not [fault for fault in faults if fault]
