"""The server as the official client sees it: answers, streams, refusals by name, the door, and leaving."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

KEY = "sesame-opens-this"
HELLO: Any = [{"role": "user", "content": "Is it?"}]
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "tiny", "messages": HELLO, "temperature": 0, **options})


def raw(
    served: Any, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=20)
    usual = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {**usual, **named})
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_the_model_is_listed(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_an_answer_says_why_it_ended_and_what_it_used(client: Any, served: Any) -> None:
    answer = ask(client, max_tokens=5)
    ids = json.loads(raw(served, "POST", "/tokenize", json.dumps({"messages": HELLO}).encode())[2])
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 5)
    assert answer.usage.prompt_tokens == ids["count"] == len(ids["tokens"])


def test_a_stream_joins_to_the_whole_answer_and_tells_its_usage(client: Any) -> None:
    whole = ask(client, max_tokens=12)
    chunks = list(ask(client, max_tokens=12, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage == whole.usage


def test_several_at_once_are_answered_as_each_alone(client: Any) -> None:
    prompts = ["a", "Who are you, and what do you do?", "geese watch", "一个小模型", "x", "y z"]
    asked = [[{"role": "user", "content": prompt}] for prompt in prompts]
    alone = [ask(client, messages=one, max_tokens=20).choices[0].message.content for one in asked]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda one: ask(client, messages=one, max_tokens=20), asked))
    assert [answer.choices[0].message.content for answer in together] == alone


def test_n_answers_with_a_seed_are_repeatable_and_differ(client: Any) -> None:
    options: Any = {"n": 3, "seed": 5, "temperature": 1.5, "top_p": 1, "max_tokens": 12, "extra_body": {"top_k": 0}}
    first, again = ask(client, **options), ask(client, **options)
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) == 3


def test_log_probabilities_come_beside_each_token(client: Any) -> None:
    told = ask(client, max_tokens=4, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert len(told) == 4
    assert all(one.logprob == pytest.approx(one.top_logprobs[0].logprob) for one in told)


def test_a_stop_text_is_honoured(client: Any) -> None:
    text = ask(client, max_tokens=24).choices[0].message.content
    stopped = ask(client, max_tokens=24, stop=[text[8:11]]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (text[: text.index(text[8:11])], "stop")


def test_a_text_is_continued_as_it_stands(client: Any) -> None:
    answer = client.completions.create(model="tiny", prompt="The quick", max_tokens=6, temperature=0)
    stream = client.completions.create(model="tiny", prompt="The quick", max_tokens=6, temperature=0, stream=True)
    assert answer.usage.completion_tokens == 6
    assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text


def test_what_agents_send_is_taken(client: Any) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Look"},
        {"role": "user", "content": "twice."},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", **call}, {"id": "b", **call}]},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
    ]
    assert ask(client, messages=messages, tools=[TOOL], tool_choice="auto", max_tokens=3).usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "messages"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"seed": 2**70}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 1000}, "stop"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"extra_body": {"chat_template": "{{ 1 }}"}}, "chat_template"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        ({"messages": [{"role": "judge", "content": "a"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "tool", "content": "a"}]}, "messages"),
        ({"stream": True, "messages": [*HELLO, {"role": "assistant", "content": "a"}]}, "messages"),
        ({"stream": True, "max_tokens": -1}, "max_tokens"),
    ],
)
def test_what_is_wrong_is_refused_by_name(client: Any, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **options)
    assert refused.value.param == param


def test_numbers_are_what_json_means_by_them(client: Any) -> None:
    usual = ask(client, max_tokens=4).choices[0].message.content
    coldest = {"temperature": 1e-256, "extra_body": {"max_tokens": 4.0}}  # next to 0; and 4.0 is the number 4
    assert ask(client, **coldest).choices[0].message.content == usual


@pytest.mark.parametrize("penalty", [0, 2, -2])
def test_openais_own_defaults_and_bounds_are_taken(client: Any, penalty: float) -> None:
    answer = ask(client, presence_penalty=penalty, frequency_penalty=penalty, n=1, top_p=1, max_tokens=2)
    assert answer.usage.completion_tokens == 2


def test_a_prompt_beyond_the_context_is_told_as_such(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, messages=[{"role": "user", "content": "geese " * 6000}])
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"temperature": NaN}', b'{"user": "\\ud800"}', b"[" * 100_000, b"\xff{}"]
)
def test_a_body_that_is_no_json_object_is_refused(served: Any, body: bytes) -> None:
    status, _, answer = raw(served, "POST", "/v1/chat/completions", body)
    assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")


def test_every_route_but_health_needs_the_key(served: Any) -> None:
    for method, path in [("GET", "/v1/models"), ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/tokenize")]:
        for key in ("", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x"):
            status, headers, _ = raw(served, method, path, Authorization=key)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert raw(served, "GET", "/health", Authorization="")[0] == 200


def test_other_hosts_and_pages_are_turned_away(served: Any) -> None:
    for host in ("evil.com", "127.0.0.1.evil.com"):
        assert raw(served, "GET", "/v1/models", Host=host)[0] == 403
    status, headers, _ = raw(served, "GET", "/v1/models", Origin="https://evil.com")
    assert (status, [name for name in headers if name.startswith("access-control")]) == (403, [])
    assert raw(served, "GET", "/v1/models", Origin=served.url)[0] == 200


def test_unknown_routes_and_types_are_told_in_openais_words(served: Any) -> None:
    assert json.loads(raw(served, "GET", "/v1/nothing")[2])["error"]["type"] == "invalid_request_error"
    assert raw(served, "POST", "/v1/chat/completions", b"{}", Content_Type="text/plain")[0] == 415
    assert raw(served, "GET", "/v1/chat/completions")[0] == 405


def test_who_leaves_a_stream_stops_the_work(client: Any, served: Any) -> None:
    stream = ask(client, max_tokens=1500, stream=True)
    next(iter(stream))
    stream.close()
    left = time.monotonic()
    while served.engine.scheduler.load and time.monotonic() - left < 5:
        time.sleep(0.01)
    assert time.monotonic() - left < 1


def test_a_full_queue_says_when_to_come_back(served: Any, client: Any) -> None:
    busy = [served.engine.generate([5, 6], _long()) for _ in range(8)]
    try:
        with pytest.raises(openai.RateLimitError) as refused:
            ask(client, max_tokens=2)
        assert refused.value.response.headers["retry-after"] == "1"
    finally:
        for pieces in busy:
            next(pieces)
            pieces.close()


def _long() -> Any:
    from hone.engines.base import Settings

    return Settings(do_sample=False, max_new_tokens=1500)
