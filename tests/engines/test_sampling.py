"""Choosing a token: the distributions are those of transformers' own processors."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from hone.engines.base import Settings
from hone.engines.sampling import Sampler, candidates
from hone.errors import NumericError
from hone.recipe import GeneratingSection


def reference(logits: torch.Tensor, settings: Settings) -> torch.Tensor:
    """The probabilities that transformers would draw from."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    steps = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
    if settings.top_k > 0:
        steps.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        steps.append(TopPLogitsWarper(settings.top_p))
    return steps(torch.zeros(1, 1, dtype=torch.long), logits[None])[0].softmax(-1)


@pytest.mark.parametrize("temperature", [0.5, 0.95, 2.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(50, 0.7), (0, 0.7), (5, 1.0), (-1, 1.0), (1, 0.01), (50, 0.001)])
def test_the_candidates_and_their_shares_are_those_of_transformers(
    temperature: float, top_k: int, top_p: float
) -> None:
    settings = Settings(temperature=temperature, top_k=top_k, top_p=top_p)
    for seed in range(5):
        logits = torch.randn(300, generator=torch.Generator().manual_seed(seed)) * 3
        scores, ids = candidates(logits, settings)
        ours = torch.zeros(300).scatter(0, ids, scores.softmax(-1))
        assert torch.allclose(ours, reference(logits, settings), atol=1e-6)


def test_draws_follow_the_shares() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -50.0])
    sampler = Sampler(Settings(temperature=1.0, top_k=0, top_p=1.0, seed=0), [], 4, torch.device("cpu"))
    drawn = torch.bincount(torch.tensor([sampler(logits) for _ in range(4000)]), minlength=4) / 4000
    assert torch.allclose(drawn, logits.softmax(-1), atol=0.03)


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (40, 1.0), (0, 0.999), (40, 0.999)])
def test_what_rounds_otherwise_changes_no_draw(top_k: int, top_p: float) -> None:
    """Many that are nearly as likely as each other: their order by likelihood changes, what is drawn does not."""
    settings = Settings(temperature=1.5, top_k=top_k, top_p=top_p, seed=3)
    samplers = [Sampler(settings, [], 300, torch.device("cpu")) for _ in range(2)]
    for seed in range(300):
        random = torch.Generator().manual_seed(seed)
        logits = torch.randn(300, generator=random).mul(0.5).round() + 1e-5 * torch.randn(300, generator=random)
        logits[:40] += 60  # those of top_k and top_p are far from the others
        rounded = logits + 1e-5 * torch.randn(300, generator=random)
        assert samplers[0](logits) == samplers[1](rounded)


def test_numbers_that_are_none_are_refused_and_not_drawn() -> None:
    for settings in (Settings(), Settings(do_sample=False)):
        with pytest.raises(NumericError):
            Sampler(settings, [], 4, torch.device("cpu"))(torch.tensor([1.0, float("nan"), 0.0, 2.0]))


def test_the_defaults_are_the_recipes() -> None:
    assert Settings.of(GeneratingSection(), stop_ids=[2]) == Settings(stop_ids=(2,))


def test_min_p_keeps_what_reaches_its_share_of_the_likeliest() -> None:
    from transformers import MinPLogitsWarper

    for seed in range(5):
        logits = torch.randn(300, generator=torch.Generator().manual_seed(seed)) * 3
        ids = candidates(logits, Settings(temperature=1.0, top_k=0, top_p=1.0, min_p=0.1))[1]
        kept = MinPLogitsWarper(0.1)(torch.zeros(1, 1, dtype=torch.long), logits[None])[0].isfinite()
        assert sorted(ids.tolist()) == kept.nonzero()[:, 0].tolist()


def test_penalties_count_what_was_answered_and_a_bias_counts_always() -> None:
    settings = Settings(do_sample=False, presence_penalty=0.5, frequency_penalty=0.3, logit_bias=((3, 1.45), (0, -0.1)))
    sampler = Sampler(settings, [0, 0, 0], 4, torch.device("cpu"))
    logits = torch.tensor([2.0, 1.5, 0.0, -0.3])
    # 0 at 1.9; said once 1.1; token 1 at 1.5, said once 0.7; token 3 at 1.15, said once 0.35; token 0 at 1.1 again
    assert [sampler(logits) for _ in range(4)] == [0, 1, 3, 0]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_taking_a_request_on_starts_no_threads_that_compute() -> None:
    """OpenMP's threads of a thread that does not run the model would make every step of the one that does wait."""
    settings = Settings(repetition_penalty=1.1, presence_penalty=0.5, frequency_penalty=0.5, logit_bias=((3, -100.0),))
    started: list[set[str]] = []

    def threads() -> set[str]:
        return {task.name for task in Path("/proc/self/task").iterdir()}

    def take_on() -> None:
        began = threads()
        sampler = Sampler(settings, [1, 2], 10**6, torch.device("cpu"))
        started.append(threads() - began)
        sampler(torch.zeros(10**6))
        started.append(threads() - began)

    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        thread = threading.Thread(target=take_on)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(usual)
    assert started[0] == set()
    assert started[1], "where the sampler does compute, threads are started: what was counted means something"
