"""Requests of all kinds for a server, good and bad; some clients leave. And what may be wrong with an answer."""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

KEY = "sesame-opens-this"
SILENCE = 10
"""Seconds without a byte after which a request hangs."""
FINE = {200, 400, 403, 404, 405, 413, 415, 429}
LEAKS = re.compile(
    r"0x[0-9a-f]{6}|/(?:tmp|home|root|usr|proc|opt)\b|site-packages|Traceback|\.py\b|line \d+, in|BytesIO|\d+\.\d+\.\d+"
)
"""Addresses, paths, stacks and versions."""
TEXTS: list[Any] = [
    "geese",
    "",
    "一个小模型",
    "<|im_end|><|im_start|>system",
    "\u0000",
    "🦊" * 50,
    None,
    7,
    [],
    {},
    ["a"],
]
NUMBERS: list[Any] = [0, 1, -1, 0.5, 2, 1e308, 10**30, True, "1", None, []]
SHAPES: list[Any] = [None, {"type": "text"}, {"type": "json_object"}, {"type": "json_schema"}, {"type": 3}, [], "json"]
FIELDS: dict[str, list[Any]] = {
    **dict.fromkeys(("temperature", "top_p", "min_p", "top_k", "n", "seed", "presence_penalty", "logprobs"), NUMBERS),
    **dict.fromkeys(("repetition_penalty", "top_logprobs", "max_completion_tokens", "echo", "stream_options"), NUMBERS),
    **dict.fromkeys(("stop", "user", "model", "tool_choice", "tools", "logit_bias", "stop_token_ids"), TEXTS),
    "response_format": SHAPES,
    "no_such_thing": [1, None],
}
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize", "/v1/score/evaluation", "/metrics"]
PROMPTS = ["geese watch", "A model learns", "def add(a, b):", "你好"]


def picture(form: str, *, cut: int | None = None) -> str:
    made = io.BytesIO()
    Image.effect_noise((24, 16), 90).convert("RGB").save(made, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(made.getvalue()[:cut]).decode()}"


ADDRESSES: list[Any] = [
    *(picture(form) for form in ("PNG", "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")),
    *(picture(form, cut=cut) for form in ("PNG", "JPEG", "WEBP", "GIF") for cut in (0, 20, 120)),
    *("data:image/png;base64,$$", "data:,", "data:image/png;base64," + "A" * 5000, "file:///etc/passwd", "/etc/passwd"),
    *("http://127.0.0.1:9/a.png", "http://[::1]/", "ftp://a/b", "gopher://a", "", "\u0000", None, 7, [], {}),
]


def part(draw: random.Random) -> Any:
    """One part of a message, pictures above all; the first addresses are good."""
    if draw.random() < 0.6:
        return {"type": "image_url", "image_url": {"url": draw.choice(ADDRESSES[:5])}}
    address = draw.choice(ADDRESSES)
    url = {"url": address} | draw.choice([{}, {}, {"detail": draw.choice(["auto", "low", 7, None])}])
    return draw.choice(
        [{"type": "image_url", "image_url": url}] * 6
        + [{"type": "image_url", "image_url": address}, {"type": "image_url"}, {"type": "video_url"}, None]
        + [{"type": "text", "text": draw.choice(TEXTS)}] * 3
    )


def send(url: str, method: str, path: str, body: bytes, *, leave: bool = False) -> tuple[int, bytes]:
    """Status and answer, or so much of it as a client hears that leaves. A server that says nothing for long fails."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=SILENCE)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(40 if leave else None)
    finally:
        connection.close()


def good(prompt: str, *, stream: bool = False) -> bytes:
    body = {"prompt": prompt, "max_tokens": 12, "temperature": 0, "stream": stream}
    return json.dumps(body).encode()


def bad(draw: random.Random, pictures: bool) -> tuple[str, str, bytes]:
    """Some request that may or may not be valid."""
    body: dict[str, Any] = {"max_tokens": draw.choice([1, 3, 8]), "stream": draw.random() < 0.3}
    path = PATHS[0] if pictures else draw.choice(PATHS)
    content = [part(draw) for _ in range(draw.randrange(1, 3))] if pictures else draw.choice(TEXTS)
    messages = [{"role": draw.choice(["user"] * (9 if pictures else 2) + ["tool", "king"]), "content": content}]
    body[{"/v1/embeddings": "input", "/v1/completions": "prompt"}.get(path, "messages")] = (
        messages if "chat" in path else draw.choice(TEXTS)
    )
    for name in draw.sample(sorted(FIELDS), 0 if pictures and draw.random() < 0.6 else draw.randrange(4)):
        body[name] = draw.choice(FIELDS[name])
    raw = json.dumps(body).encode()
    if draw.random() < 0.15:
        raw = raw[: draw.randrange(len(raw))] + draw.choice([b"", b"\xff", b"\x00", b"}" * 3])
    return draw.choice(["POST"] * 9 + ["GET"]), path, raw


def faults(status: int, answer: bytes, *, whole: bool = True) -> list[str]:
    """What is wrong with an answer, whatever was asked."""
    found = [] if status in FINE else [f"status {status}"]
    if status >= 400:
        told = answer.decode()
        found += [f"tells {leak.group()}: {told}" for leak in LEAKS.finditer(told)]
        found += [] if json.loads(told)["error"]["message"] else [f"says nothing: {told}"]
    elif answer.startswith(b"data: ") and whole and not answer.endswith(b"data: [DONE]\n\n"):
        found.append(f"a stream without an end: {answer[-200:]!r}")
    return found


@dataclass(frozen=True)
class Told:
    """What came of a request of a kind (good, bad, leaves), and what was wrong with it."""

    kind: str
    status: int
    faults: list[str]


def storm(url: str, count: int, seed: int, *, clients: int = 32, pictures: bool = False) -> list[Told]:
    """So many requests, by so many clients at once, a fifth of which leave in the middle of their stream."""
    alone = {prompt: answered(url, prompt) for prompt in PROMPTS}
    draw = random.Random(seed)
    kinds = ["good"] * 3 + ["bad"] * 5 + ["bad" if pictures else "leaves"] * 2
    plan = [draw.choice(kinds) for _ in range(count)]
    made = [bad(draw, pictures) for _ in plan]

    def one(place: int) -> Told:
        prompt = PROMPTS[place % len(PROMPTS)]
        if plan[place] == "bad":
            status, answer = send(url, *made[place])
            return Told("bad", status, [f"{fault}: {made[place]}" for fault in faults(status, answer)])
        if plan[place] == "leaves":
            body = json.dumps({"prompt": prompt, "max_tokens": 400, "stream": True}).encode()
            status, answer = send(url, "POST", "/v1/completions", body, leave=True)
            return Told("leaves", status, [] if status in FINE else [f"status {status}"])
        status, answer = send(url, "POST", "/v1/completions", good(prompt))
        mixed = status == 200 and json.loads(answer)["choices"] != alone[prompt]
        others = [f"another's answer: {prompt}: {answer.decode()}"] if mixed else []
        return Told("good", status, faults(status, answer) + others)

    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(one, range(count)))


def answered(url: str, prompt: str) -> Any:
    """What a good request is answered with when nobody else asks."""
    return json.loads(send(url, "POST", "/v1/completions", good(prompt))[1])["choices"]
