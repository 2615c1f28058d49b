"""Serving the small real model: tokens a second and time to the first token, with 1, 8 and 32 clients at once.

    python benchmarks/serve.py [--tokens 64] [--clients 1,8,32] [--turns 2] [--adapters 4]
                               [--peers llamafactory,transformers] [--peer-clients 1,8]

Starts `hone api` in a process of its own and asks it with the official client; every prompt of a turn is new. Peers are
`llamafactory api` (from the virtual environment that HONE_PEER_VENV names; asked whenever it is set) and
`transformers serve` (of this environment), started beside it and asked in turns with it, the answers whole, because
llamafactory counts tokens only there. What is printed for a peer is Hone's tokens a second over the peer's, as the
median of the turns. With --adapters so many LoRA adapters of rank 8 on all linear layers stand beside the model, and in
turns all clients ask the model itself, one adapter, and all adapters at once.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from hone.models.embedded import embedded_model


@dataclass(frozen=True)
class Side:
    """A server that is asked; `stream` where it tells the tokens of a stream."""

    name: str
    client: Any
    stream: bool = True


@dataclass(frozen=True)
class Row:
    """Seconds to the first token and to the last, and how many tokens there were."""

    first: float
    whole: float
    tokens: int


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=64)
    options.add_argument("--clients", default="1,8,32")
    options.add_argument("--turns", type=int, default=2)
    options.add_argument("--adapters", type=int, default=0)
    options.add_argument("--peers", default="llamafactory" if os.environ.get("HONE_PEER_VENV") else "")
    options.add_argument("--peer-clients", default="1,8")
    given = options.parse_args()
    with ExitStack() as open_ones:
        hone = Side("hone", open_ones.enter_context(serving(own())))
        peers = [open_ones.enter_context(peer(name)) for name in given.peers.split(",") if name]
        for side in (hone, *peers):
            asked(side, 2, 8, -1)
        for count in counts(given.clients):
            beside(hone, peers if count in counts(given.peer_clients) else [], count, given)
        long_one(hone)
    if given.adapters:
        side_by_side(given)


def own(*more: str) -> list[str]:
    """The command that serves the model with the built-in engine."""
    model = ["--model_name_or_path", str(embedded_model()), "--infer_dtype", "float32"]
    return [sys.executable, "-m", "hone", "api", *model, *more]


@contextmanager
def peer(name: str) -> Iterator[Side]:
    """Another server of the same model in the same number format."""
    if name == "llamafactory":
        command = str(Path(os.environ["HONE_PEER_VENV"]) / "bin" / "llamafactory-cli")
        words = [command, *own()[3:], "--template", "smollm2"]
    else:
        command = str(Path(sys.executable).parent / "transformers")
        words = [command, "serve", str(embedded_model()), "--dtype", "float32", "--device", "cpu", "--port", "{port}"]
    with serving(words) as client:
        yield Side(name, client, stream=False)


@contextmanager
def serving(words: list[str]) -> Iterator[Any]:
    """The official client of a server that is ready; it ends with the block. `{port}` among the words is its port."""
    from openai import OpenAI

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "API_PORT": port, "API_HOST": "127.0.0.1"}
    server = subprocess.Popen(
        [word.replace("{port}", port) for word in words],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=300)
    try:
        wait_for(server, port)
        yield client
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for(server: Any, port: str) -> None:
    """Until it says that it is ready, or, where it knows no such question, until it answers at all."""
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
            return
        except HTTPError as answer:
            if answer.code == 404:
                return
        except OSError:
            if server.poll() is not None:
                raise SystemExit(f"the server ended with {server.returncode}") from None
        time.sleep(0.2)


def counts(text: str) -> list[int]:
    """Numbers of clients."""
    return [int(count) for count in text.split(",")]


def beside(hone: Side, peers: Sequence[Side], count: int, given: argparse.Namespace) -> None:
    """One row for each side, and what Hone's speed is of each peer's."""
    speeds: dict[str, list[float]] = {side.name: [] for side in (hone, *peers)}
    rows: dict[str, list[Row]] = {side.name: [] for side in (hone, *peers)}
    for turn in range(given.turns):
        for side in (hone, *peers):
            speed, answers = asked(side, count, given.tokens, turn)
            speeds[side.name].append(speed)
            rows[side.name] += answers
    for side in (hone, *peers):
        told(side, count, speeds[side.name], rows[side.name])
    for other in peers:
        pairs = [one / two for one, two in zip(speeds[hone.name], speeds[other.name], strict=True)]
        print(f"{'':17} {statistics.median(pairs):.2f}x {other.name}", flush=True)


def told(side: Side, count: int, speeds: Sequence[float], rows: Sequence[Row]) -> None:
    firsts, wholes = [row.first for row in rows], [row.whole for row in rows]
    heard = f" first token p50 {statistics.median(firsts):.2f} s," if side.stream else ""
    print(
        f"{count:3} clients: {side.name:12} {statistics.median(speeds):6.1f} tok/s,{heard}"
        f" whole p50 {statistics.median(wholes):.2f} s, slowest {max(wholes):.2f} s",
        flush=True,
    )


def asked(side: Side, count: int, tokens: int, turn: int, models: Sequence[str] = ()) -> tuple[float, list[Row]]:
    """Tokens a second of so many clients at once, each with its own prompt (and the next of the models)."""
    named = models or [str(embedded_model()) if side.name == "transformers" else "small"]
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        places = range(count)
        rows = list(threads.map(lambda at: answer(side, tokens, f"{turn}, {at}", model=named[at % len(named)]), places))
    return sum(row.tokens for row in rows) / (time.perf_counter() - began), rows


def answer(side: Side, tokens: int, place: str, *, model: str = "small") -> Row:
    """One answer, always the likeliest words."""
    messages = [{"role": "user", "content": f"Write a long story about {place} geese and a fox."}]
    options = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
    began, first, used = time.perf_counter(), 0.0, 0
    if not side.stream:
        used = side.client.chat.completions.create(**options).usage.completion_tokens
        return Row(time.perf_counter() - began, time.perf_counter() - began, used)
    for chunk in side.client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}):
        if chunk.choices and chunk.choices[0].delta.content and not first:
            first = time.perf_counter() - began
        used = chunk.usage.completion_tokens if chunk.usage else used
    return Row(first, time.perf_counter() - began, used)


def long_one(hone: Side) -> None:
    """A short request behind a long one."""
    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(answer, hone, 128, "99")
        time.sleep(0.5)
        first = answer(hone, 16, "1").first
        print(f"a short request beside a long one: first token after {first:.2f} s", flush=True)
        busy.result()


def side_by_side(given: argparse.Namespace) -> None:
    """Tokens a second of all clients: the model alone, one adapter, several in one batch; each turn all three."""
    with tempfile.TemporaryDirectory() as root:
        names = [f"adapter{number}" for number in range(given.adapters)]
        for seed, name in enumerate(names):
            make_adapter(Path(root) / name, seed)
        listed = ",".join(f"{name}={Path(root) / name}" for name in names)
        with serving(own("--adapter_name_or_path", listed)) as client:
            for count in counts(given.clients):
                if count >= len(names):
                    compare(Side("hone", client), names, count, given)


def compare(hone: Side, names: list[str], count: int, given: argparse.Namespace) -> None:
    """One row: the model itself, one adapter, all of them; the first turn is not counted."""
    ways = {"none": ["gpt-3.5-turbo"], "one": names[:1], "all": names}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(-1, given.turns):
        for way, models in ways.items():
            speed, _ = asked(hone, count, given.tokens if turn >= 0 else 4, turn, models)
            found[way] += [speed] if turn >= 0 else []
    middle = {way: statistics.median(speeds) for way, speeds in found.items()}
    pairs = [several / one for several, one in zip(found["all"], found["one"], strict=True)]
    print(
        f"{count:3} clients: no adapter {middle['none']:.1f}, one {middle['one']:.1f}, {len(names)} adapters "
        f"{middle['all']:.1f} tok/s; {len(names)} cost {1 - statistics.median(pairs):.0%} of one",
        flush=True,
    )


def make_adapter(folder: Path, seed: int) -> None:
    """Rank 8 on all linear layers, small enough that answers stay words."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(embedded_model()), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.002)
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
