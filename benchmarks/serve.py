"""Serving the small real model: tokens a second and time to the first token, with 1, 8 and 32 clients at once.

    python benchmarks/serve.py [--tokens 64] [--clients 1,8,32] [--peer-clients 1,8]

Starts `hone api` in a process of its own and asks it with the official client; every answer has the same length. With
HONE_PEER_VENV (a virtual environment with LLaMA-Factory) its `llamafactory-cli api` is asked the same afterwards, the
answers whole: it counts tokens only there.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hone.models.embedded import embedded_model


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=64)
    options.add_argument("--clients", default="1,8,32")
    options.add_argument("--peer-clients", default="1,8")
    given = options.parse_args()
    model = ["api", "--model_name_or_path", str(embedded_model()), "--infer_dtype", "float32"]
    with serving([sys.executable, "-m", "hone", *model]) as client:
        measure("hone", client, given.tokens, counts(given.clients), stream=True)
        long_one(client)
    if peer := os.environ.get("HONE_PEER_VENV"):
        words = [str(Path(peer) / "bin" / "llamafactory-cli"), *model, "--template", "default"]
        with serving(words) as client:
            measure("peer", client, given.tokens, counts(given.peer_clients), stream=False)


@contextmanager
def serving(words: list[str]) -> Iterator[Any]:
    """The official client of a server that is ready; the server ends with the block."""
    from openai import OpenAI

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "API_PORT": str(port), "API_HOST": "127.0.0.1"}
    server = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=300)
    try:
        wait_for(server, client)
        yield client
    finally:
        server.terminate()
        server.wait(30)


def wait_for(server: Any, client: Any) -> None:
    """Until it answers."""
    from openai import APIConnectionError

    while True:
        try:
            client.models.list()
            return
        except APIConnectionError:
            if server.poll() is not None:
                raise SystemExit(f"the server ended with {server.returncode}") from None
            time.sleep(0.2)


def counts(text: str) -> list[int]:
    """Numbers of clients."""
    return [int(count) for count in text.split(",")]


def measure(name: str, client: Any, tokens: int, clients: list[int], *, stream: bool) -> None:
    """One row for each number of clients; the first answers (probe, threads, caches) are not counted."""
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: answer(client, 8, 0, stream=stream), range(2)))
    for count in clients:
        began = time.perf_counter()
        with ThreadPoolExecutor(count) as threads:
            rows = list(threads.map(lambda place: answer(client, tokens, place, stream=stream), range(count)))
        took = time.perf_counter() - began
        firsts, wholes = ([row[part] for row in rows] for part in (0, 1))
        written = sum(row[2] for row in rows)
        print(
            f"{name} {count:3} clients: {written / took:6.1f} tok/s, first token p50 {statistics.median(firsts):.2f} s,"
            f" whole p50 {statistics.median(wholes):.2f} s, slowest {max(wholes):.2f} s",
            flush=True,
        )


def answer(client: Any, tokens: int, place: int, *, stream: bool) -> tuple[float, float, int]:
    """Seconds to the first token and to the last, and how many tokens there were."""
    messages = [{"role": "user", "content": f"Write a long story about {place} geese and a fox."}]
    options = {"model": "small", "messages": messages, "max_tokens": tokens, "temperature": 0}
    began, first, used = time.perf_counter(), 0.0, 0
    if not stream:
        used = client.chat.completions.create(**options).usage.completion_tokens
        return time.perf_counter() - began, time.perf_counter() - began, used
    for chunk in client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}):
        if chunk.choices and chunk.choices[0].delta.content and not first:
            first = time.perf_counter() - began
        used = chunk.usage.completion_tokens if chunk.usage else used
    return first, time.perf_counter() - began, used


def long_one(client: Any) -> None:
    """A short request behind a long one."""
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(answer, client, 128, 99, stream=True)
        time.sleep(0.5)
        first = answer(client, 16, 1, stream=True)[0]
        print(f"a short request beside a long one: first token after {first:.2f} s")
        busy.result()


if __name__ == "__main__":
    main()
