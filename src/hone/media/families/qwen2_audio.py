"""Qwen2-Audio: two halvings of a sound's feature frames, between the family's words."""

from __future__ import annotations

from hone.media.expand import Grounds, Sound, Span


def sound(sound: Sound, grounds: Grounds) -> list[Span]:
    """A token for each quarter of the frames."""
    begin = grounds.words.get("audio_bos", "<|audio_bos|>")
    end = grounds.words.get("audio_eos", "<|audio_eos|>")
    frames = sound.samples // int(grounds.number("hop_length", 160))
    halved = (frames - 1) // 2 + 1
    return [Span(begin), grounds.seen("audio", (halved - 2) // 2 + 1), Span(end)]
