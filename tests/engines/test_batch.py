"""Batched answers: those of each prompt alone, their log-probabilities the model's own, the model left as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.engines.base import Settings
from hone.engines.batch import answer_all, choose
from hone.models.attention import use_packed_attention

PROMPTS = [[5, 9, 33], [7, 8, 100, 3, 44, 12, 60], [21]]
DRAWN = Settings(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=12, seed=3, stop_ids=(2,))


@pytest.fixture(params=["llama", "gemma3"])
def model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Any:
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM.from_pretrained(tiny_model(request.param))
    use_packed_attention(found)
    return found.train()


def test_a_batch_writes_what_each_prompt_would_get_alone(model: Any) -> None:
    greedy = replace(DRAWN, do_sample=False)
    together = answer_all(model, PROMPTS, greedy, each=2)
    assert model.training
    for number, prompt in enumerate(PROMPTS):
        alone = answer_all(model, [prompt], greedy)[0]
        for answer in together[2 * number : 2 * number + 2]:
            assert answer.ids == alone.ids
            assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_log_probabilities_are_those_of_a_plain_forward_also_after_rows_have_ended(model: Any) -> None:
    some = answer_all(model, PROMPTS, replace(DRAWN, max_new_tokens=20), each=4)
    stops = tuple({some[number].ids[2 + number] for number in range(0, 12, 3)})  # rows end at different times
    answers = answer_all(model, PROMPTS, replace(DRAWN, max_new_tokens=20, stop_ids=stops), each=4)
    assert len({len(answer.ids) for answer in answers}) > 1
    for number, answer in enumerate(answers):
        prompt = PROMPTS[number // 4]
        assert answer.ended == (answer.ids[-1] in stops)
        assert not set(answer.ids[:-1]) & set(stops)
        with torch.no_grad():
            logits = model.eval()(input_ids=torch.tensor([[*prompt, *answer.ids]])).logits[0, len(prompt) - 1 : -1]
        plain = logits.log_softmax(-1).gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        assert answer.logprobs == pytest.approx(plain.tolist(), abs=1e-4)


def test_draws_follow_from_the_seed_alone(model: Any) -> None:
    first = answer_all(model, PROMPTS, DRAWN, each=3)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert answer_all(model, PROMPTS, DRAWN, each=3) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert answer_all(model, PROMPTS, replace(DRAWN, seed=4), each=3) != first
    assert len(set(first)) > 1


def test_draws_have_the_wanted_shares_and_stay_inside_top_k_and_top_p() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(4000, 4)
    random = torch.Generator().manual_seed(0)
    shares = choose(logits, DRAWN, random).bincount(minlength=4) / 4000
    assert torch.allclose(shares, torch.tensor([0.4, 0.3, 0.2, 0.1]), atol=0.03)
    assert set(choose(logits, replace(DRAWN, top_k=2), random).tolist()) == {0, 1}
    assert set(choose(logits, replace(DRAWN, top_p=0.6), random).tolist()) == {0, 1}
    assert set(choose(logits, replace(DRAWN, top_p=1e-6), random).tolist()) == {0}
