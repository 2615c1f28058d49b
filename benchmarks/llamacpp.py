"""The small real model as a GGUF file: `hone api` with the engine `llamacpp`, beside llama.cpp's own server.

    python benchmarks/llamacpp.py [--tokens 128] [--clients 1,8] [--turns 3] [--type q4_0] [--peer xllamacpp|llama_cpp]

Both servers are started on the same file with the same threads and asked in turns by the official client; every answer
is greedy and has the same length. `--peer xllamacpp` (a package with llama.cpp's server inside, ready built) is
llama-server; `llama_cpp` is the server of llama-cpp-python, which answers one at a time. With HONE_PEER_PYTHON the peer
runs in that interpreter. What is printed last is Hone's tokens a second over the peer's, as the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hone.models.embedded import embedded_gguf, embedded_model
from serve import counts

PEERS = {
    "xllamacpp": """
import sys, time, xllamacpp
wish = xllamacpp.CommonParams()
wish.model.path, wish.port, wish.n_parallel, wish.n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 16384
wish.kv_unified, wish.warmup, wish.verbosity = True, True, -1
wish.cpuparams.n_threads = wish.cpuparams_batch.n_threads = int(sys.argv[4])
server = xllamacpp.Server(wish)
print(server.listening_address, flush=True)
time.sleep(100000)
""",
    "llama_cpp": """
import sys
sys.argv = ["server", "--model", sys.argv[1], "--port", sys.argv[2], "--n_ctx", "16384", "--n_threads", sys.argv[4]]
from llama_cpp.server.__main__ import main
main()
""",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=128)
    options.add_argument("--clients", default="1,8")
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--type", default="q4_1", help="the file's number format; q4_1 is the file as it is shipped")
    options.add_argument("--peer", choices=PEERS, default="xllamacpp")
    given = options.parse_args()
    threads = str(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as place:
        file = embedded_gguf() if given.type == "q4_1" else written(Path(place), given.type)
        most = max(counts(given.clients))
        own = [sys.executable, "-m", "hone", "api", "--model_name_or_path", str(file), "--infer_backend", "llamacpp"]
        peer = [os.environ.get("HONE_PEER_PYTHON", sys.executable), "-c", PEERS[given.peer], str(file)]
        with serving(own) as hone, serving([*peer, "{port}", str(most), threads]) as other:
            for side in (hone, other):
                asked(side, most, 16)
            for count in counts(given.clients):
                turns = [[asked(side, count, given.tokens) for side in (hone, other)] for _ in range(given.turns)]
                told(count, given.peer, turns)


def told(count: int, peer: str, turns: list[list[tuple[float, float]]]) -> None:
    """Tokens a second, and milliseconds of processor for a token, which other work on the machine disturbs less."""
    speed, busy = ([[side[part] for side in turn] for turn in turns] for part in (0, 1))
    ours, theirs = (statistics.median(turn[side] for turn in speed) for side in (0, 1))
    own, other = (1000 * statistics.median(turn[side] for turn in busy) for side in (0, 1))
    print(
        f"{count:3} clients: hone {ours:6.1f} tok/s, {peer} {theirs:6.1f} tok/s,"
        f" {statistics.median(one / two for one, two in speed):.2f}x;"
        f" processor {own:.2f} and {other:.2f} ms a token, {statistics.median(two / one for one, two in busy):.2f}x",
        flush=True,
    )


def written(place: Path, kind: str) -> Path:
    """The model exported in another number format."""
    words = ["export", "--model_name_or_path", str(embedded_model()), "--export_dir", str(place / "out")]
    words += ["--export_format", "gguf", "--export_gguf_type", kind, "--export_check", "false"]
    subprocess.run([sys.executable, "-m", "hone", *words], check=True, stderr=subprocess.DEVNULL)
    return place / "out" / "model.gguf"


@contextmanager
def serving(words: list[str]) -> Iterator[tuple[Any, Any]]:
    """The official client of a server that is ready, and its process; `{port}` among the words is its port."""
    import socket

    import psutil
    from openai import APIConnectionError, InternalServerError, OpenAI

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = subprocess.Popen(
        [word.replace("{port}", port) for word in words],
        env={**os.environ, "API_PORT": port, "API_HOST": "127.0.0.1"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=300)
    try:
        while True:
            try:
                client.models.list()
                break
            except (APIConnectionError, InternalServerError):
                if server.poll() is not None:
                    raise SystemExit(f"the server ended with {server.returncode}") from None
                time.sleep(0.2)
        yield client, psutil.Process(server.pid)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def asked(side: tuple[Any, Any], count: int, tokens: int) -> tuple[float, float]:
    """Tokens a second of so many clients at once, each with its own prompt; seconds of processor for a token."""
    client, process = side
    began, before = time.perf_counter(), process.cpu_times()
    with ThreadPoolExecutor(count) as threads:
        written = list(threads.map(lambda place: answer(client, place, tokens), range(count)))
    took, after = time.perf_counter() - began, process.cpu_times()
    if set(written) != {tokens}:
        raise SystemExit(f"answers have {written} tokens, not {tokens}")
    return sum(written) / took, (after.user + after.system - before.user - before.system) / sum(written)


def answer(client: Any, place: int, tokens: int) -> int:
    """A streamed answer that no stop token ends; how many tokens it has."""
    messages = [{"role": "user", "content": f"Write a long story about {place} geese and a fox."}]
    options = {"model": "small", "messages": messages, "max_tokens": tokens, "temperature": 0}
    options["logit_bias"] = {"2": -100, "0": -100}
    used = 0
    for chunk in client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}):
        used = chunk.usage.completion_tokens if chunk.usage else used
    return used


if __name__ == "__main__":
    main()
