"""Which bytes are text: UTF-8 with or without a mark; anything else is refused, with its offset and a guess."""

from __future__ import annotations

import codecs
from pathlib import Path

from hone.data.sources._open import opened
from hone.errors import DataError, Fault

MARK = codecs.BOM_UTF8
CHUNK = 1 << 20
_WIDE_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_SAMPLE = 4096


def refuse_wide(file: Path) -> None:
    """Refuse UTF-16, whose plain letters would pass as UTF-8 with NULs between them."""
    with opened(file) as stream:
        head = stream.read(_SAMPLE)
    for mark in _WIDE_MARKS:
        if head.startswith(mark):
            raise _refusal(file, 0, "UTF-16")
    if head and max(head[0::2].count(0), head[1::2].count(0)) * 5 > len(head):
        raise _refusal(file, head.index(0), "UTF-16")


def first_character(file: Path) -> str:
    """The first character that is not a space, or nothing."""
    with opened(file) as stream:
        head = stream.read(CHUNK).removeprefix(MARK).lstrip()
    return chr(head[0]) if head else ""


def not_utf8(file: Path) -> DataError:
    """The error for a file in which decoding failed: finds the first bad byte and guesses the encoding."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = 0
    with opened(file) as stream:
        while chunk := stream.read(CHUNK):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as fault:
                return _refusal(file, before - held + fault.start, _guess(file, before - held + fault.start))
            before += len(chunk)
    return _refusal(file, before, "a truncated UTF-8 character")


def _guess(file: Path, offset: int) -> str:
    with opened(file) as stream:
        stream.seek(max(offset - 1, 0))
        sample = stream.read(_SAMPLE)
    for name in ("gb18030", "big5", "shift_jis"):
        text = _decoded(sample[1:] if offset else sample, name)
        wide = sum("\u3000" <= letter <= "\u9fff" or "\uff00" <= letter <= "\uffef" for letter in text)
        if wide and wide * 2 >= sum(not letter.isascii() for letter in text):
            return name.upper()
    return "Windows-1252 or Latin-1"


def _decoded(sample: bytes, name: str) -> str:
    try:
        return codecs.getincrementaldecoder(name)().decode(sample)
    except UnicodeDecodeError:
        return ""


def _refusal(file: Path, offset: int, guess: str) -> DataError:
    convert = f"convert it, e.g. iconv -f {guess} -t UTF-8" if " " not in guess else "save it as UTF-8"
    return DataError(Fault("DATA-ENCODING", f"not UTF-8 at byte {offset}, perhaps {guess}", str(file), convert))
