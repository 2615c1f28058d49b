"""The tutorial's command lines that answer: `api`, `webchat` and `chat` as the script `llamafactory-cli`."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hone.errors import MachineError

pytestmark = pytest.mark.model

SCRIPT = Path(sys.executable).parent / "llamafactory-cli"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def environment(**named: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "API_KEY"}
    return kept | {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "1"} | named


@contextmanager
def running(line: str, variable: str) -> Iterator[str]:
    """Such a server, its port told by that environment variable, once its model is there; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = subprocess.Popen(
        [str(SCRIPT), *line.split()], env=environment(**{variable: port}), stderr=subprocess.PIPE, text=True
    )
    address = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 120
    try:
        while not ready(address):
            assert server.poll() is None and time.monotonic() < until, server.stderr
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.communicate(timeout=30)


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def answer_of(address: str) -> str:
    """As the tutorial asks: the official client, any key, any name of a model."""
    from openai import OpenAI

    client = OpenAI(api_key="0", base_url=f"{address}/v1", max_retries=0)
    result = client.chat.completions.create(messages=QUESTION, model="test", temperature=0, max_tokens=24)  # type: ignore[arg-type]
    return str(result.choices[0].message.content)


def test_the_api_answers_the_official_client(small_model: Path) -> None:
    line = f"api --model_name_or_path {small_model} --template smollm2 --infer_backend huggingface"
    with running(line, "API_PORT") as address:
        assert "Paris" in answer_of(address)


def test_webchat_serves_its_page_and_what_the_page_asks(small_model: Path) -> None:
    line = f"webchat --model_name_or_path {small_model} --template smollm2"
    with running(line, "GRADIO_SERVER_PORT") as address:
        with urllib.request.urlopen(address, timeout=10) as page:
            assert page.headers["content-type"].startswith("text/html")
            assert "<textarea" in page.read().decode()
        assert "Paris" in answer_of(address)


def test_chat_answers_until_exit(small_model: Path) -> None:
    words = f"chat --model_name_or_path {small_model} --template smollm2 --do_sample false --max_new_tokens 24".split()
    typed = f"{QUESTION[0]['content']}\nclear\nexit\n"
    done = subprocess.run(
        [str(SCRIPT), *words], input=typed, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is here, and would be started")
def test_the_line_for_vllm_says_what_is_missing(small_model: Path) -> None:
    words = f"api --model_name_or_path {small_model} --template llama3 --infer_backend vllm --vllm_enforce_eager"
    done = subprocess.run(
        [str(SCRIPT), *words.split()], env=environment(API_PORT="0"), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == MachineError.exit_code
    assert "hone-llm[web,vllm]" in done.stderr
    assert "Traceback" not in done.stderr
