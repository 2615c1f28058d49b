"""The keys that say how text is generated."""

from __future__ import annotations

from dataclasses import dataclass

from hone.recipe.schema.key import key

_BEAMS = "beam search is not built yet"


@dataclass(frozen=True)
class GeneratingSection:
    """Sampling, its limits, and when to stop."""

    do_sample: bool = key(True, "Draw tokens at random; false always takes the likeliest.")
    temperature: float = key(0.95, "Below 1 sharpens the choice, above 1 flattens it.", at_least=0)
    top_p: float = key(0.7, "Draw from the likeliest tokens that together reach this probability.", above=0, at_most=1)
    top_k: int = key(50, "Draw from this many likeliest tokens; 0 or -1 is no limit.", at_least=-1)
    num_beams: int = key(1, "Beams of beam search.", at_least=1, later=_BEAMS)
    max_length: int = key(1024, "Most tokens of prompt and answer; used if max_new_tokens is 0.", at_least=1)
    max_new_tokens: int = key(1024, "Most tokens of an answer.")
    repetition_penalty: float = key(1.0, "Above 1 makes tokens that occurred less likely.", above=0)
    length_penalty: float = key(1.0, "Above 0 favours long beams, below 0 short ones.", later=_BEAMS)
    skip_special_tokens: bool = key(True, "Leave special tokens out of the text that is shown.")
