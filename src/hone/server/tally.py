"""What has happened since the start, as Prometheus reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds at which the histograms are cut."""
KIND = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How often something took how long."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[next((place for place, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))] += 1
        self.total += seconds

    def lines(self, name: str, told: str) -> Iterator[str]:
        """In Prometheus' words."""
        yield from _head(name, told, "histogram")
        so_far = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{le="{bound}"}} {so_far}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {so_far}"


class Tally:
    """Counts of one server; touched by the thread of its event loop alone."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.paths = frozenset(paths)
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.prompt_tokens = self.answer_tokens = 0
        self.first, self.whole, self.between = Histogram(), Histogram(), Histogram()

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request ended; status 0 for one whose client left before. Paths that are no routes count as one."""
        known = method if method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH") else "other"
        self.requests[known, path if path in self.paths else "other", status] += 1
        self.whole.add(seconds)

    def text(self, now: Mapping[str, int]) -> str:
        """All of it, and what is so `now`: requests that are answered, read and waiting."""
        return "\n".join([*self._counters(), *_gauges(now), *self._times()]) + "\n"

    def _counters(self) -> Iterator[str]:
        yield from _head("hone_requests_total", "Requests by route and status (0: the client left)", "counter")
        for (method, path, status), count in sorted(self.requests.items()):
            yield f'hone_requests_total{{method="{method}",path="{path}",status="{status}"}} {count}'
        for name, count, told in (
            ("hone_prompt_tokens_total", self.prompt_tokens, "Tokens of prompts taken on"),
            ("hone_answer_tokens_total", self.answer_tokens, "Tokens answered"),
        ):
            yield from _head(name, told, "counter")
            yield f"{name} {count}"

    def _times(self) -> Iterator[str]:
        yield from self.whole.lines("hone_request_seconds", "From a request's arrival to the end of its answer")
        yield from self.first.lines("hone_first_token_seconds", "From a prompt's arrival to its first token")
        yield from self.between.lines("hone_token_seconds", "From one token to the next, the mean of each answer")


def _gauges(now: Mapping[str, int]) -> Iterator[str]:
    for name, count in now.items():
        yield from _head(f"hone_{name}", f"Requests {name.removeprefix('requests_')} now", "gauge")
        yield f"hone_{name} {count}"


def _head(name: str, told: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {told}", f"# TYPE {name} {kind}"
