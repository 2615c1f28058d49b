"""Pictures in requests, as the official client sends them: answered as the session answers, or refused by place."""

from __future__ import annotations

import base64
import io
import itertools
import re
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from PIL import Image

from hone.dialogue.message import Conversation, Media, Message, Text
from hone.engines.base import Settings
from hone.engines.session import Session

KEY = "sesame-opens-this"
SETTINGS = Settings(max_new_tokens=12, do_sample=False, elastic=True)


def noise(seed: int, form: str = "PNG", **options: Any) -> bytes:
    made, random = io.BytesIO(), torch.Generator().manual_seed(seed)
    Image.fromarray(torch.randint(0, 256, (32, 40, 3), generator=random, dtype=torch.uint8).numpy()).save(
        made, form, **options
    )
    return made.getvalue()


def url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def shown(address: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address}}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.fixture(scope="module")
def seeing(seeing_session: Session) -> Session:
    return seeing_session


@pytest.fixture(scope="module")
def address(seeing_served: Any) -> str:
    return str(seeing_served.url)


@pytest.fixture
def eyes(address: str) -> Any:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0, timeout=30)


def ask(client: Any, *parts: Any, role: str = "user", **options: Any) -> Any:
    messages: list[Any] = [{"role": role, "content": list(parts)}]
    return client.chat.completions.create(**{"model": "tiny", "messages": messages, "temperature": 0, **options})


def text_of(answer: Any) -> str:
    return answer.choices[0].message.content or ""


def odds_of(client: Any, *parts: Any) -> list[float]:
    told = ask(client, *parts, logprobs=True).choices[0].logprobs.content
    return [one.logprob for one in told]


def test_a_picture_is_answered_as_by_the_session_whole_and_as_a_stream(eyes: Any, seeing: Session) -> None:
    one, other = noise(1), noise(2)
    parts = (Text("Compare "), Media("image", one), Media("image", other), Text(" now"))
    reply = seeing.say(Conversation((Message("user", parts),)), replace(SETTINGS, stop_ids=seeing.encoder.stop_ids))
    list(reply)
    asked = (said("Compare "), shown(url(one)), shown(url(other)), said(" now"))
    whole = ask(eyes, *asked)
    assert (text_of(whole), whole.usage.prompt_tokens) == (reply.message.text, reply.prompt_tokens)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in ask(eyes, *asked, stream=True)) == text_of(whole)
    swapped = (said("Compare "), shown(url(other)), shown(url(one)), said(" now"))
    assert odds_of(eyes, *asked) == odds_of(eyes, *asked) != odds_of(eyes, *swapped)


def test_the_spelling_of_a_data_url_and_the_format_do_not_matter(eyes: Any) -> None:
    picture = noise(1)
    plain = base64.b64encode(picture).decode()
    spelt = [
        f"data:image/png;base64,{plain}",
        "data:image/png;base64," + "\r\n".join(plain[place : place + 76] for place in range(0, len(plain), 76)),
        f"DATA:image/jpeg;charset=x;BASE64,{plain.replace('+', '-').replace('/', '_').rstrip('=')}",
        url(noise(1, "WEBP", lossless=True), "image/webp"),
    ]
    assert len({tuple(odds_of(eyes, shown(one), said("Which?"))) for one in spelt}) == 1
    assert text_of(ask(eyes, shown(url(noise(1, "GIF"))), shown(url(noise(2, "JPEG"))), said("Which?")))


def test_each_is_told_of_the_own_picture_in_any_company(eyes: Any) -> None:
    asked = [(shown(url(noise(place))), said(f"Which of {place}?")) for place in range(4)] * 4
    alone = [odds_of(eyes, *parts) for parts in asked[:4]]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda parts: odds_of(eyes, *parts), asked))
    for place, odds in enumerate(together):
        assert odds == pytest.approx(alone[place % 4], abs=1e-4)
    assert all(one != pytest.approx(other, abs=1e-3) for one, other in itertools.combinations(alone, 2))


def test_of_an_animation_and_of_a_picture_with_more_behind_it_the_picture_is_shown(eyes: Any) -> None:
    frame = b"," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    animation = b"GIF89a" + struct.pack("<2H", 1, 1) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * 10_000 + b";"
    page = noise(1) + b"<html><script>alert(1)</script></html>"
    began = time.monotonic()
    assert odds_of(eyes, shown(url(animation, "image/gif")), said("Which?"))
    assert odds_of(eyes, shown(url(page, "text/html")), said("Which?")) == odds_of(
        eyes, shown(url(noise(1))), said("Which?")
    )
    assert time.monotonic() - began < 5


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [head, b"IDAT" + zlib.compress(b"\0" * 999), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )


def plain(width: int, height: int, form: str) -> bytes:
    """A picture of one colour, which takes few bytes and as much to decode as any of its size."""
    made = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(made, form)
    return made.getvalue()


BAD: dict[str, tuple[Any, str]] = {
    "no base64": ("data:image/png;base64,$$$$", "base64"),
    "not marked": ("data:image/png,abc", "base64"),
    "nothing": ("data:image/png;base64,", "no picture"),
    "a text": (url(b"hello there"), "no picture"),
    "svg": (url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "no picture"),
    "bmp": (url(noise(1, "BMP")), "no picture"),
    "photoshop": (url(b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + b"\0" * 99), "no picture"),
    "jpeg 2000": (url(noise(1, "JPEG2000")), "no picture"),
    "tiff": (url(noise(1, "TIFF")), "no picture"),
    "huge": (url(bomb(20_000, 20_000)), "pixels"),
    "long": (url(bomb(6_000, 5_000)), "20,000,000"),
    "long webp": (url(plain(5_001, 2_000, "WEBP")), "10,000,000"),
    "cut off": (url(noise(1)[:900]), "damaged"),
    "no text": (7, "`url`"),
    "no address": ({"a": 1}, "`url`"),
    "many": (None, "32"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_good_picture_is_refused_with_its_place_and_nothing_of_this_machine(eyes: Any, name: str) -> None:
    given, word = BAD[name]
    parts = [shown(url(noise(1)))] * 33 if name == "many" else [said("a"), shown(given)]
    with pytest.raises(openai.BadRequestError) as refused:
        ask(eyes, *parts, stream=True)
    told = refused.value.body["message"]
    assert word in told and not re.search(r"0x[0-9a-f]{6}|/tmp|/home|BytesIO", told)
    places = {"many": "messages[0].content[32].image_url", "cut off": "messages"}
    assert refused.value.param == places.get(name, "messages[0].content[1].image_url")


def most_memory_since(work: Callable[[], Any]) -> int:
    """By how many bytes this process, which is the server too, grew at the most meanwhile."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this machine does not forget how much memory a process had at the most")

    def peak() -> int:
        return 1024 * int(re.findall(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[0])

    before = peak()
    work()
    return peak() - before


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_largest_picture_takes_less_than_200_mib(eyes: Any, form: str) -> None:
    largest = shown(url(plain(5_000, 2_000 if form == "WEBP" else 4_000, form)))
    assert most_memory_since(lambda: ask(eyes, said("a"), largest, max_tokens=1)) < 200 * 2**20


def test_a_picture_that_is_refused_takes_next_to_no_memory(eyes: Any) -> None:
    def ask_all() -> None:
        for name in ("huge", "long", "photoshop", "tiff", "svg"):
            with pytest.raises(openai.BadRequestError):
                ask(eyes, shown(BAD[name][0]))

    assert most_memory_since(ask_all) < 20 * 2**20


@pytest.mark.parametrize(
    "given", ["http://127.0.0.1:9/a.png", "file:///etc/passwd", "/etc/passwd", "a.png", "ftp://a/b"]
)
def test_nothing_is_fetched_or_read_from_this_machine(eyes: Any, given: str) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(eyes, shown(given))
    assert refused.value.code == "media_not_allowed"


def test_only_questions_have_pictures_and_only_models_that_see(eyes: Any, client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="only messages from the user"):
        ask(eyes, shown(url(noise(1))), role="system")
    with pytest.raises(openai.BadRequestError, match="`detail`"):
        ask(eyes, {"type": "image_url", "image_url": {"url": url(noise(1)), "detail": "low"}})
    with pytest.raises(openai.BadRequestError, match="no picture can be shown here: this model reads text alone"):
        ask(client, shown(url(noise(1))))


def test_the_page_is_told_who_sees(address: str, served: Any) -> None:
    import httpx

    headers = {"Authorization": f"Bearer {KEY}"}
    told = [httpx.get(f"{each}/info", headers=headers).json()["sees"] for each in (address, served.url)]
    assert told == [True, False]
