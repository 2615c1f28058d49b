"""`hone predict`, the chat session and the server on a GGUF file answered by llama.cpp."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="llama-cpp-python is not installed: it is compiled for minutes (make llamacpp)",
)
GREEDY = {"do_sample": False, "max_new_tokens": 12, "template": "chatml", "infer_dtype": "float32"}


@pytest.fixture(scope="module")
def file(tiny_model: Callable[[str], Path], as_gguf: Callable[[Path], Path]) -> str:
    return str(as_gguf(tiny_model("llama")))


def test_predictions_are_those_of_the_built_in_engine(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hone.recipe import settle
    from hone.runs.predict import predict

    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"How much is {n}? " * (1 + n % 3), "output": f"It is {n}."} for n in range(6)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    said = []
    for engine in ("huggingface", "llamacpp"):
        recipe = GREEDY | {"model_name_or_path": file, "infer_backend": engine, "eval_dataset": "rows"}
        recipe |= {"dataset_dir": str(tmp_path), "output_dir": str(tmp_path / engine)}
        predict(settle(recipe, verb="predict"))
        lines = (tmp_path / engine / "generated_predictions.jsonl").read_text("utf-8").splitlines()
        said.append([json.loads(line) for line in lines])
    assert len(said[0]) == 6 and any(row["predict"] for row in said[0])
    assert said[1] == said[0]


@pytest.fixture(scope="module")
def client(file: str, serve: Callable[[Any], Any]) -> Iterator[Any]:
    from openai import OpenAI

    from hone.recipe import settle
    from hone.runs.chat import settings_of
    from hone.runs.session import open_session
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service

    recipe = settle(GREEDY | {"model_name_or_path": file, "infer_backend": "llamacpp"}, verb="api")
    session = open_session(recipe, slots=4, queue=8, by_name=True)
    service = Service(session, settings_of(recipe, session.encoder.stop_ids), "tiny")
    with serve(make_app(service, Door(None))) as url:
        yield OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)


def ask(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": text}], **more)


def test_the_server_streams_to_several_at_once_what_each_gets_alone(client: Any) -> None:
    def streamed(text: str) -> str:
        return "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, text, stream=True))

    texts = [f"Tell me of {n} geese" for n in range(6)]
    alone = [ask(client, text).choices[0].message.content for text in texts]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(streamed, texts)) == alone


def test_the_odds_of_a_prompt_are_told(client: Any) -> None:
    done = client.completions.create(model="tiny", prompt="The quick brown fox", echo=True, logprobs=2, max_tokens=3)
    told = done.choices[0].logprobs.token_logprobs
    assert told[0] is None and len(told) > 4 and all(value <= 0 for value in told[1:])


def test_what_it_cannot_do_is_400_with_a_sentence(client: Any) -> None:
    from openai import BadRequestError

    with pytest.raises(BadRequestError, match="llamacpp gives no embeddings"):
        client.embeddings.create(model="tiny", input="geese")
    known = len(client.completions.create(model="tiny", prompt=[5], max_tokens=1).choices)
    assert known == 1
    with pytest.raises(BadRequestError, match="token ids"):
        client.completions.create(model="tiny", prompt=[5, 512], max_tokens=1)  # the tokenizer's, not the model's
