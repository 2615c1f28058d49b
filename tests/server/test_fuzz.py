"""A storm of good and bad requests, some of whose clients leave: no 5xx, no hang, and nobody gets another's answer."""

from __future__ import annotations

import http.client
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

KEY = "sesame-opens-this"
FINE = {200, 400, 404, 405, 413, 415, 429}
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


def send(served: Any, method: str, path: str, body: bytes, *, leave: bool = False) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(40 if leave else None)
    finally:
        connection.close()


def good(prompt: str, *, stream: bool = False) -> bytes:
    body = {"prompt": prompt, "max_tokens": 12, "temperature": 0, "stream": stream}
    return json.dumps(body).encode()


def bad(draw: random.Random) -> tuple[str, str, bytes]:
    """Some request that may or may not be valid."""
    body: dict[str, Any] = {"max_tokens": draw.choice([1, 3, 8]), "stream": draw.random() < 0.3}
    path = draw.choice(PATHS)
    messages = [{"role": draw.choice(["user", "user", "tool", "king"]), "content": draw.choice(TEXTS)}]
    body[{"/v1/embeddings": "input", "/v1/completions": "prompt"}.get(path, "messages")] = (
        messages if "chat" in path else draw.choice(TEXTS)
    )
    for name in draw.sample(sorted(FIELDS), draw.randrange(4)):
        body[name] = draw.choice(FIELDS[name])
    raw = json.dumps(body).encode()
    if draw.random() < 0.15:
        raw = raw[: draw.randrange(len(raw))] + draw.choice([b"", b"\xff", b"\x00", b"}" * 3])
    return draw.choice(["POST"] * 9 + ["GET"]), path, raw


def test_a_storm_of_requests_leaves_the_server_as_it_was(served: Any) -> None:
    alone = {prompt: json.loads(send(served, "POST", "/v1/completions", good(prompt))[1]) for prompt in PROMPTS}
    draw = random.Random(7)
    plan = [draw.choice(["good", "good", "bad", "bad", "bad", "leaves"]) for _ in range(240)]
    made = [bad(draw) for _ in plan]

    def one(place: int) -> tuple[int, str]:
        prompt = PROMPTS[place % len(PROMPTS)]
        if plan[place] == "bad":
            return send(served, *made[place])[0], ""
        if plan[place] == "leaves":
            body = json.dumps({"prompt": prompt, "max_tokens": 400, "stream": True}).encode()
            return send(served, "POST", "/v1/completions", body, leave=True)[0], ""
        status, answer = send(served, "POST", "/v1/completions", good(prompt))
        same = status != 200 or json.loads(answer)["choices"] == alone[prompt]["choices"]
        return status, "" if same else f"{prompt}: {answer.decode()}"

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(one, range(len(plan))))
    assert {status for status, _ in found} <= FINE
    assert [mixed for _, mixed in found if mixed] == []
    assert sum(status == 200 for (status, _), kind in zip(found, plan, strict=True) if kind == "good") > 20
    deadline = time.monotonic() + 30
    while served.engine.scheduler.load and time.monotonic() < deadline:
        time.sleep(0.01)
    assert served.engine.scheduler.load == 0
    assert (
        json.loads(send(served, "POST", "/v1/completions", good(PROMPTS[0]))[1])["choices"]
        == alone[PROMPTS[0]]["choices"]
    )
