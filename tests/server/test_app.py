"""The server as the official client sees it: answers, streams, refusals by name, the door, and leaving."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
        ({"temperature": 1e9}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 2}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "messages"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"seed": 2**70}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 1000}, "stop"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 10**6}}, "logit_bias"),
        ({"logit_bias": {str(token): 1 for token in range(2000)}}, "logit_bias"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": None}]}, "tools[0]"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"extra_body": {"chat_template": "{{ 1 }}"}}, "chat_template"),
        ({"extra_body": {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}}, "chat_template_kwargs"),
        ({"extra_body": {"guided_regex": "(a+)+$"}}, "guided_regex"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        (
            {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{"function": None}]}]},
            "messages[1].tool_calls[0]",
        ),
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
    penalties: Any = {"presence_penalty": penalty, "frequency_penalty": penalty}
    answer = ask(client, **penalties, n=1, top_p=1, max_tokens=2, stop=[], logit_bias={})
    assert answer.usage.completion_tokens == 2


def test_a_prompt_beyond_the_context_is_told_as_such(client: Any) -> None:
    for options, number in (
        ({"messages": [{"role": "user", "content": "geese " * 6000}]}, "the prompt has 6071 tokens"),
        ({"max_tokens": 2040}, "2040 may follow"),
        ({"max_tokens": 2040, "stream": True}, "2040 may follow"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, **options)
        assert refused.value.code == "context_length_exceeded"
        assert number in refused.value.message and "holds 2048" in refused.value.message


def otherwise_good(user: bytes) -> bytes:
    return b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "user": ' + user + b"}"


BODIES = {
    "nothing": b"",
    "half": b"{",
    "a list": b"[]",
    "not a number": otherwise_good(b"NaN"),
    "half a character": otherwise_good(b'"\\ud800"'),
    "half a character in bytes": otherwise_good(b'"\xed\xa0\x80"'),
    "nested": otherwise_good(b"[" * 100_000 + b"]" * 100_000),
    "not UTF-8": otherwise_good(b'"\xff"'),
    "UTF-16": otherwise_good(b'"a"').decode().encode("utf-16"),
    "a NUL": otherwise_good(b'"\0"'),
    "a name twice": otherwise_good(b'"b", "user": "c"'),
    "a name twice inside": otherwise_good(b'{"a": 1, "b": 2, "a": 1}'),
    "a million names": otherwise_good(b"{" + b",".join(b'"k%d":0' % place for place in range(10**6)) + b"}"),
}


def test_what_the_bodies_are_but_for_one_thing_is_good(served: Any) -> None:
    assert raw(served, "POST", "/v1/chat/completions", otherwise_good(b'"\\ud83e\\udd8a\\u0000"'))[0] == 200


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_good_json_object_is_refused(served: Any, name: str) -> None:
    began = time.monotonic()
    status, _, answer = raw(served, "POST", "/v1/chat/completions", BODIES[name])
    assert time.monotonic() - began < 5
    assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")


def test_every_route_but_health_needs_the_key(served: Any) -> None:
    paths = served.app.openapi()["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    guarded = [(method, path) for method, path in routes if not path.startswith("/health")]
    pages = [("GET", path) for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/nowhere")]
    assert len(guarded) > 8
    for method, path in [*guarded, *pages]:
        for key in ("", KEY, "Bearer", "bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"):
            status, headers, _ = raw(served, method, path, Authorization=key)
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), (method, path, key)
    assert {raw(served, "GET", path, Authorization="")[0] for _, path in routes if path.startswith("/health")} == {200}
    assert raw(served, "GET", "/v1/models", Authorization=f"bearer {KEY}")[0] == 200  # the scheme's case is free


def test_an_engine_that_has_ended_is_no_health(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(served.engine), "alive", False)
    status, headers, answer = raw(served, "GET", "/health/ready")
    assert (status, json.loads(answer)["error"]["code"]) == (503, "engine_ended") and "retry-after" in headers


def test_other_hosts_and_pages_are_turned_away(served: Any) -> None:
    for host in ("evil.com", "127.0.0.1.evil.com", "localhost.evil.com:80", "127.0.0.1@evil.com", ""):
        status, _, answer = raw(served, "GET", "/health", Host=host)
        assert (status, json.loads(answer)["error"]["code"]) == (403, "host_not_allowed")
    for method in ("GET", "OPTIONS"):
        for origin in ("https://evil.com", "null", "http://localhost.evil.com"):
            named = {"Origin": origin, "Access_Control_Request_Method": "GET"}
            status, headers, _ = raw(served, method, "/v1/models", **named)
            assert (status, [name for name in headers if name.startswith("access-control")]) == (403, [])
    assert raw(served, "GET", "/v1/models", Origin=served.url)[0] == 200


def test_pages_that_are_named_may_ask_and_no_others(served: Any) -> None:
    from starlette.testclient import TestClient

    from hone.server.app import make_app
    from hone.server.guard import Door

    page = TestClient(make_app(served.service, Door(KEY, origins=("https://my.page",))), base_url="http://localhost")
    key = {"Authorization": f"Bearer {KEY}"}
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for answer in (
        page.options("/v1/models", headers={"Origin": "https://my.page", **asks}),
        page.get("/v1/models", headers={"Origin": "https://my.page", **key}),
    ):
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://my.page")
        assert "access-control-allow-credentials" not in answer.headers
    for answer in (
        page.options("/v1/models", headers={"Origin": "https://evil.com", **asks}),
        page.get("/v1/models", headers={"Origin": "https://evil.com", **key}),
    ):
        assert answer.status_code in (400, 403) and "access-control-allow-origin" not in answer.headers
    assert page.get("/v1/models", headers={"Origin": "https://my.page"}).status_code == 401


def test_unknown_routes_and_types_are_told_in_openais_words(served: Any) -> None:
    assert json.loads(raw(served, "GET", "/v1/nothing")[2])["error"]["type"] == "invalid_request_error"
    assert raw(served, "POST", "/v1/chat/completions", b"{}", Content_Type="text/plain")[0] == 415
    assert raw(served, "GET", "/v1/chat/completions")[0] == 405


def test_who_leaves_a_stream_stops_the_work(client: Any, served: Any) -> None:
    stream = ask(client, max_tokens=1500, stream=True)
    next(iter(stream))
    scheduler = served.engine.scheduler
    (request,) = [*scheduler.running, *scheduler.reading, *scheduler.waiting]
    stream.close()
    rest(served)
    assert request.finish is None and request.room > 0


def rest(served: Any) -> None:
    """Wait until the engine has nothing to do."""
    left = time.monotonic()
    while served.engine.scheduler.load:
        assert time.monotonic() - left < 30
        time.sleep(0.01)


def leave(served: Any, stream: bool) -> None:
    """Ask for much and go: in the middle of a stream, or before an answer that comes whole."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    body = json.dumps({"prompt": "geese", "max_tokens": 1500, "stream": stream, "logit_bias": {"2": -100}})
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(f"{head}{body}".encode())
        if stream:
            assert line.recv(12) == b"HTTP/1.1 200"
        else:
            time.sleep(0.05)


def test_a_hundred_who_leave_leave_nothing_behind(served: Any) -> None:
    def crowd(count: int, stream: bool) -> tuple[int, int]:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: leave(served, stream), range(count)))
        rest(served)
        held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return threading.active_count(), held

    count, held = crowd(20, True)
    crowd(4, False)
    after, holds = crowd(100, True)
    assert after <= count + 1
    assert holds - held < 20 * 2**20


def test_of_many_at_once_some_are_answered_well_and_the_rest_told_when_to_come_back(served: Any) -> None:
    bodies = [
        json.dumps({"prompt": f"geese {place % 8}", "max_tokens": 40, "temperature": 0}).encode() for place in range(64)
    ]

    def answered(body: bytes) -> tuple[int, dict[str, str], Any]:
        status, headers, answer = raw(served, "POST", "/v1/completions", body)
        return status, headers, json.loads(answer)

    alone = [answered(body)[2]["choices"] for body in bodies[:8]]
    with ThreadPoolExecutor(64) as threads:
        found = list(threads.map(answered, bodies))
    served_well = [place for place, (status, _, _) in enumerate(found) if status == 200]
    told = [headers["retry-after"] for status, headers, _ in found if status == 429]
    assert len(served_well) >= 8 and told and len(served_well) + len(told) == 64
    assert set(told) == {"1"}
    assert all(found[place][2]["choices"] == alone[place % 8] for place in served_well)


def test_a_seed_draws_the_same_in_any_company(served: Any) -> None:
    """Sixty-four requests with texts and seeds of their own: what each gets alone, and eight at a time."""
    asked = [
        json.dumps({"prompt": f"user {place}: ", "seed": place // 2, "temperature": 1.5, "top_k": 0, "max_tokens": 8})
        for place in range(64)
    ]

    def answered(body: str) -> str:
        status, _, answer = raw(served, "POST", "/v1/completions", body.encode())
        assert status == 200
        return str(json.loads(answer)["choices"][0]["text"])

    alone = [answered(body) for body in asked]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(answered, reversed(asked)))
    assert together == alone[::-1]
    assert len(set(alone)) > 60


@pytest.mark.parametrize("ending", ["length", "stop text", "stop id", "two answers", "text"])
def test_a_stream_has_one_id_one_reason_an_exact_count_and_one_end(served: Any, client: Any, ending: str) -> None:
    plain: dict[str, Any] = {"max_tokens": 24, "temperature": 0}
    whole = ask(client, **plain, logprobs=True).choices[0]
    told = [one.token for one in whole.logprobs.content]
    options, reason, counts = {
        "length": ({}, "length", [24]),
        "stop text": ({"stop": [whole.message.content[8:11]]}, "stop", None),
        "stop id": ({"stop_token_ids": [served.engine.tokenizer.convert_tokens_to_ids(told[9])]}, "stop", None),
        "two answers": ({"n": 2}, "length", [24, 24]),
        "text": ({}, "length", [24]),
    }[ending]
    kind, asked = (
        ("completions", {"prompt": "Is it?"}) if ending == "text" else ("chat/completions", {"messages": HELLO})
    )
    body = {**plain, **asked, **options}
    stream = {**body, "stream": True, "stream_options": {"include_usage": True}}
    events = raw(served, "POST", f"/v1/{kind}", json.dumps(stream).encode())[2].decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""] and sum("[DONE]" in one for one in events) == 1
    chunks = [json.loads(one.removeprefix("data: ")) for one in events[:-2]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert ends == [reason] * (2 if ending == "two answers" else 1)
    one = json.loads(raw(served, "POST", f"/v1/{kind}", json.dumps(body).encode())[2])
    assert chunks[-1]["usage"] == one["usage"] and chunks[-1]["choices"] == []
    assert {choice["finish_reason"] for choice in one["choices"]} == {reason}
    if counts is not None:
        assert one["usage"]["completion_tokens"] == sum(counts)
    else:
        shown = json.loads(raw(served, "POST", f"/v1/{kind}", json.dumps({**body, "logprobs": True}).encode())[2])
        assert one["usage"]["completion_tokens"] == len(shown["choices"][0]["logprobs"]["content"]) < 24
    ids = {chunk["id"] for chunk in chunks}
    assert len(ids) == 1 and one["id"] not in ids


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
