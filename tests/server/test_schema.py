"""The server held against its own OpenAPI description: what it allows is taken, the rest refused, never a 5xx."""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

HEADERS = {"Authorization": "Bearer sesame-opens-this"}
EXAMPLES = 100 if os.environ.get("HYPOTHESIS_PROFILE") == "default" else 8
"""For each route, valid and invalid: many at night, few in CI."""
ROUTES = [
    ("GET", "/health"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/info"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/score/evaluation"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("POST", "/tokenize"),
]
"""All of them: the first test holds this list against the description."""


@pytest.fixture(scope="module")
def described(served: Any) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json", headers=HEADERS)


def test_every_route_is_described(described: Any) -> None:
    found = [(method.upper(), path) for path, ways in described.raw_schema["paths"].items() for method in ways]
    assert sorted(found) == sorted(ROUTES)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_server_does_as_it_says(described: Any, method: str, path: str, mode: GenerationMode) -> None:
    operation = described[path][method]
    if mode is GenerationMode.NEGATIVE and method == "GET":
        pytest.skip("nothing to be wrong about")

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold(case: Any) -> None:
        case.call_and_validate(headers=HEADERS, excluded_checks=[positive_data_acceptance])
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body = possible(case.body)
            case.call_and_validate(headers=HEADERS, excluded_checks=[])

    if path != "/v1/score/evaluation":  # the model here is none that scores
        hold()


def possible(body: dict[str, Any]) -> dict[str, Any]:
    """The same without what a description cannot forbid: turns, words that go together, more than the context holds."""
    kept = {name: value for name, value in body.items() if name not in ("response_format", "tool_choice")}
    if "messages" in kept:
        kept["messages"] = [{"role": "user", "content": "Is it?"}]
    for name in ("max_tokens", "max_completion_tokens"):
        if name in kept:
            kept[name] = min(body[name] or 4, 4)
    for name, wanted in (("stream_options", "stream"), ("top_logprobs", "logprobs")):
        if not body.get(wanted):
            kept.pop(name, None)
    if kept.get("logit_bias"):
        kept["logit_bias"] = {token: value for token, value in kept["logit_bias"].items() if int(token) < 300}
    return kept
