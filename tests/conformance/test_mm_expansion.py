"""Pictures, videos and sounds become the tokens that the corpus has recorded for their sizes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from corpus import Tally, cases, needs_corpus

from hone.errors import DataError
from hone.media.expand import Film, Grounds, Picture, Sound, expanded_text
from hone.media.families.paligemma import prefix_tokens

FAMILY = "mm_expansion"
KINDS = ("image", "video", "audio")


def grounds_of(case: dict[str, Any]) -> Grounds:
    """The card's words and the processor's numbers."""
    words = {name.removesuffix("_token"): token for name, token in case["tokens"].items()}
    return Grounds(words, case["processor"] or {}, case["expand"])


def media_of(case: dict[str, Any]) -> dict[str, list[Any]]:
    """Sizes of what the case shows, by kind."""
    seconds = (case["processor"] or {}).get("audio_seconds", [0.0] * case["n_audios"])
    rate = (case["processor"] or {}).get("sampling_rate", 16000)
    return {
        "image": [Picture(*size) for size in case["image_sizes_wh"]],
        "video": [Film(one["width"], one["height"], one["frames"], one["fps"]) for one in case["videos"]],
        "audio": [Sound(round(one * rate)) for one in seconds],
    }


def run_length(text: list[Any]) -> str:
    """A recorded content, written out."""
    return "".join((run_length(part) if isinstance(part, list) else part) * times for part, times in text)


def outcome(case: dict[str, Any]) -> tuple[list[str], dict[str, int]] | None:
    """Contents and the tokens that see, by token; None where the case is refused."""
    grounds, media = grounds_of(case), media_of(case)
    border = "\x1e"
    try:
        whole = border.join(message["content"] for message in case["messages"])
        spans = [span for stretch in expanded_text(whole, case["plugin"], media, grounds) for span in stretch]
    except DataError:
        return None
    counts: Counter[str] = Counter()
    for span in spans:
        counts[span.text] += span.times * span.sees
    return "".join(span.text * span.times for span in spans).split(border), {k: n for k, n in counts.items() if n}


def fault_of(case: dict[str, Any]) -> str | None:
    """What differs from the recording."""
    found, expect = outcome(case), case["expect"]
    if "error" in expect:
        return None if found is None else "not refused"
    if found is None:
        return "refused"
    contents = [run_length(text) for text in expect["contents_rle"]]
    if found[0] != contents:
        return f"written {found[0][0][:60]!r} ({found[1]}), not {contents[0][:60]!r} ({expect['token_counts']})"
    prefix = prefix_tokens(len(case["image_sizes_wh"]), grounds_of(case)) if case["plugin"] == "paligemma" else 0
    return None if prefix == expect.get("extra_prefix_tokens", 0) else f"{prefix} tokens before the text"


@needs_corpus
def test_media_become_the_tokens_that_the_corpus_says(tally: Tally) -> None:
    faults = [tally.judge(FAMILY, case["id"], fault_of(case)) for case in cases(FAMILY)]
    assert not [fault for fault in faults if fault]
