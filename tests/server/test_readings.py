"""What is measured and not answered: log-probabilities of prompts, embeddings, the numbers for Prometheus."""

from __future__ import annotations

import base64
import http.client
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

KEY = "sesame-opens-this"


def post(served: Any, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    return send(served, "POST", path, json.dumps(body))


def send(served: Any, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
    connection.request(method, path, body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def forward(served: Any, ids: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return served.engine.model(torch.tensor([ids]), output_hidden_states=True)


def test_the_odds_of_a_prompt_are_the_models_own(client: Any, served: Any) -> None:
    ids = [5, 17, 250, 300, 41]
    options: Any = {"prompt": ids, "echo": True, "logprobs": 2, "max_tokens": 0}
    choice = client.completions.create(model="tiny", **options).choices[0]
    shares = forward(served, ids).logits[0].log_softmax(-1)
    expected = [float(shares[place, token]) for place, token in enumerate(ids[1:])]
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(expected, abs=1e-4)
    assert len(choice.logprobs.tokens) == 5 and len(choice.logprobs.top_logprobs[1]) <= 2
    assert choice.text == served.engine.tokenizer.decode(ids) and choice.finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_repeated_before_its_continuation(client: Any, stream: bool) -> None:
    options: Any = {"model": "tiny", "prompt": "The quick", "max_tokens": 5, "temperature": 0}
    plain = client.completions.create(**options).choices[0].text
    answer = client.completions.create(**options, echo=True, logprobs=1, stream=stream)
    choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
    told = [one for choice in choices for one in choice.logprobs.token_logprobs]
    prompt = client.completions.create(**{**options, "max_tokens": 1}).usage.prompt_tokens
    assert "".join(choice.text for choice in choices) == "The quick" + plain
    assert len(told) == prompt + 5 and told[0] is None and all(one <= 0 for one in told[1:])


def test_embeddings_are_the_mean_of_the_last_states(client: Any, served: Any) -> None:
    ids = [5, 17, 250]
    found = client.embeddings.create(model="tiny", input=[ids, [9, 9, 8, 7]], encoding_format="float")
    mean = forward(served, ids).hidden_states[-1][0].mean(0)
    assert found.data[0].embedding == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
    assert (len(found.data), found.usage.prompt_tokens) == (2, 7)


def test_an_embedding_is_the_last_state_where_that_is_asked_for(served: Any) -> None:
    body = {"input": "geese", "pooling": "last", "encoding_format": "base64"}
    row = json.loads(post(served, "/v1/embeddings", body)[1])["data"][0]["embedding"]
    ids = json.loads(post(served, "/tokenize", {"prompt": "geese"})[1])["tokens"]
    last = forward(served, ids).hidden_states[-1][0, -1]
    assert struct.unpack("<64f", base64.b64decode(row)) == pytest.approx((last / last.norm()).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": "a", "dimensions": 8}, "dimensions"),
        ({"input": "a", "pooling": "max"}, "pooling"),
        ({"input": ["a"] * 1000}, "input"),
        ({"input": [[7] * 4000]}, "input"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(served: Any, body: dict[str, Any], param: str) -> None:
    status, answer = post(served, "/v1/embeddings", body)
    assert (status, json.loads(answer)["error"]["param"]) == (400, param)


def test_a_model_without_a_value_head_gives_no_scores(served: Any) -> None:
    assert post(served, "/v1/score/evaluation", {"model": "tiny", "messages": ["a"]})[0] == 405


def test_a_reward_model_scores_and_does_not_answer(client: Any, served: Any) -> None:
    import torch

    from hone.models.value_head import NAME, add_value_head, value_head

    model = served.engine.model
    add_value_head(model, None)
    try:
        status, answer = post(served, "/v1/score/evaluation", {"model": "r", "messages": ["geese", "a fox"]})
        ids = json.loads(post(served, "/tokenize", {"prompt": "geese"})[1])["tokens"]
        head: Any = value_head(model)
        with torch.no_grad():
            expected = float(head(forward(served, ids).hidden_states[-1][0, -1].clone()))
        with pytest.raises(openai.APIStatusError) as refused:
            client.completions.create(model="tiny", prompt="a", max_tokens=1)
    finally:
        delattr(model, NAME)
    found = json.loads(answer)
    assert (status, found["object"], found["model"], len(found["scores"])) == (200, "score.evaluation", "r", 2)
    assert found["scores"][0] == pytest.approx(expected, abs=1e-5)
    assert refused.value.status_code == 405


def test_prometheus_reads_what_happened(client: Any, served: Any) -> None:
    def numbers() -> dict[str, float]:
        text = send(served, "GET", "/metrics")[1]
        assert all(
            line.startswith("# ") or re.fullmatch(r"[a-z_]+(\{.*\})? \d[\d.]*", line) for line in text.splitlines()
        )
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}

    before = numbers()
    client.completions.create(model="tiny", prompt=[5, 6, 7], max_tokens=4, temperature=0)
    send(served, "GET", "/no/such/route")
    after = numbers()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert (grown("hone_prompt_tokens_total"), grown("hone_answer_tokens_total")) == (3, 4)
    assert grown('hone_requests_total{method="POST",path="/v1/completions",status="200"}') == 1
    assert grown('hone_requests_total{method="GET",path="other",status="404"}') == 1
    assert grown('hone_first_token_seconds_bucket{le="+Inf"}') == 1
    assert after["hone_requests_running"] == 0


def test_the_head_of_a_reward_model_is_loaded_with_it(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    import shutil

    from hone.engines.readings import value
    from hone.errors import ModelError
    from hone.models.value_head import ValueHead, save_value_head
    from hone.recipe import settle
    from hone.runs.session import open_session

    folder = shutil.copytree(tiny_model("llama"), tmp_path / "reward")
    recipe = settle({"model_name_or_path": str(folder), "template": "chatml", "stage": "rm"}, verb="api")
    with pytest.raises(ModelError, match="value_head"):
        open_session(recipe)
    head = ValueHead(64)
    save_value_head(head, folder)
    engine: Any = open_session(recipe).engine
    twice = [value(engine.model, [5, 6, 7]), engine.aside(lambda: value(engine.model, [5, 6, 7])).result(30)]
    assert twice[0] == twice[1] != 0
