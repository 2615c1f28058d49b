"""`hone predict`, the chat session and the server on a folder answered by vLLM."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None,
        reason="vllm is not installed: it asks for one version of torch (an environment of its own)",
    ),
    pytest.mark.slow,
    pytest.mark.model,
]
GREEDY = {"do_sample": False, "max_new_tokens": 24, "template": "chatml", "infer_dtype": "float32"}
VLLM = GREEDY | {"infer_backend": "vllm", "vllm_enforce_eager": True, "vllm_gpu_util": 0.1}


def test_predictions_are_those_of_the_built_in_engine(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hone.recipe import settle
    from hone.runs.predict import predict

    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"How much is {n} and {n}?", "output": f"It is {2 * n}."} for n in range(6)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    said = []
    for engine in (GREEDY, VLLM):
        folder = tmp_path / str(engine.get("infer_backend"))
        recipe = engine | {"model_name_or_path": str(small_model), "eval_dataset": "rows", "dataset_dir": str(tmp_path)}
        predict(settle(recipe | {"output_dir": str(folder)}, verb="predict"))
        lines = (folder / "generated_predictions.jsonl").read_text("utf-8").splitlines()
        said.append([json.loads(line) for line in lines])
    assert len(said[0]) == 6 and all(row["predict"] for row in said[0])
    assert said[1] == said[0]


@pytest.fixture(scope="module")
def client(small_model: Path, serve: Callable[[Any], Any]) -> Iterator[Any]:
    from openai import OpenAI

    from hone.recipe import settle
    from hone.runs.chat import settings_of
    from hone.runs.session import open_session
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service

    recipe = settle(VLLM | {"model_name_or_path": str(small_model)}, verb="api")
    session = open_session(recipe, slots=4, queue=8, by_name=True)
    service = Service(session, settings_of(recipe, session.encoder.stop_ids), "small")
    with serve(make_app(service, Door(None))) as url:
        yield OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)
    session.engine.close()


def ask(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model="small", messages=[{"role": "user", "content": text}], **more)


def test_the_server_streams_to_several_at_once_what_each_gets_alone(client: Any) -> None:
    def streamed(text: str) -> str:
        return "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, text, stream=True))

    texts = [f"Tell me of {n} geese" for n in range(6)]
    alone = [ask(client, text).choices[0].message.content for text in texts]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(streamed, texts)) == alone


def test_several_answers_a_schema_a_call_and_the_odds_of_a_prompt(client: Any) -> None:
    several = ask(client, "Say a number", n=3, seed=4, temperature=1.5, extra_body={"do_sample": True})
    assert len({choice.message.content for choice in several.choices}) == 3
    schema = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    held = ask(client, "Say a number", response_format=form, max_tokens=50)
    assert json.loads(held.choices[0].message.content)["n"] in (7, 8) and held.choices[0].finish_reason == "stop"
    done = client.completions.create(model="small", prompt="The quick brown fox", echo=True, logprobs=2, max_tokens=3)
    told = done.choices[0].logprobs.token_logprobs
    assert told[0] is None and len(told) > 4 and all(value <= 0 for value in told[1:])


def test_what_it_cannot_do_is_400_with_a_sentence(client: Any) -> None:
    from openai import BadRequestError

    with pytest.raises(BadRequestError, match="the engine vllm gives no embeddings"):
        client.embeddings.create(model="small", input="geese")
    with pytest.raises(BadRequestError, match=r"temperatures from 0\.01 to 2"):
        ask(client, "geese", temperature=0.001, extra_body={"do_sample": True})
    assert ask(client, "geese", max_tokens=2).choices[0].finish_reason == "length"


def test_an_interrupt_ends_the_server_and_all_its_processes(small_model: Path, tmp_path: Path) -> None:
    import psutil

    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(VLLM | {"model_name_or_path": str(small_model)}))
    command = [sys.executable, "-m", "hone", "api", str(recipe)]
    environment = os.environ | {"API_PORT": "0"}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 150
        while "/v1" not in (tmp_path / "log").read_text() and time.monotonic() < deadline and server.poll() is None:
            time.sleep(0.5)
        assert "/v1" in (tmp_path / "log").read_text(), (tmp_path / "log").read_text()
        family = psutil.Process(server.pid).children(recursive=True)
        assert len(family) >= 2
        os.killpg(server.pid, signal.SIGINT)  # as a terminal does
        assert server.wait(60) == 130
        _, left = psutil.wait_procs(family, 10)
        assert left == []
    finally:
        server.kill()
