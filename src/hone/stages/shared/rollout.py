"""Questions answered by the policy itself, and judged: what stages that generate learn from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hone.data.batch import collate
from hone.dialogue.example import IGNORED, Example
from hone.engines.base import Settings
from hone.engines.batch import Answer, answer_all
from hone.models.label_states import unwrapped
from hone.stages.shared.reference import Materials
from hone.stages.shared.reward_model import Scorer
from hone.training.rewards import Reward
from hone.training.stage import Batch

if TYPE_CHECKING:
    from torch import Tensor

REWARD = "rewards/"
"""Before a reward's name, in batches and logs."""


def prompt_batch(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Questions and the answers that the data have, end to end: `input_ids`, `labels` [1, T], and `cu_seqlens`
    [2 prompts + 1]: question, answer, question … Segments may be empty."""
    lengths = [length for example in examples for length in example.lengths]
    return {
        "input_ids": torch.from_numpy(np.concatenate([one.input_ids for one in examples]).astype(np.int64))[None],
        "labels": torch.from_numpy(np.concatenate([one.labels for one in examples]).astype(np.int64))[None],
        "cu_seqlens": torch.from_numpy(np.cumsum([0, *lengths]).astype(np.int32)),
    }


def questions(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """The ids of each question of a prompt batch, and of the answer that the data have."""
    ids, ends = batch["input_ids"][0].tolist(), batch["cu_seqlens"].tolist()
    sides = [ids[start:stop] for start, stop in itertools.pairwise(ends)]
    return list(zip(sides[0::2], sides[1::2], strict=True))


@dataclass(frozen=True)
class Rollout:
    """Writes `each` answers to every question, and has them judged."""

    tokenizer: Any
    settings: Settings
    rewards: tuple[Reward, ...]
    each: int
    scorer: Scorer | None = None
    scorer_weight: float = 1.0

    @classmethod
    def of(
        cls, materials: Materials, rewards: Sequence[Reward], each: int, scorer: Scorer | None, weight: float
    ) -> Rollout:
        """As the recipe's generating section says; an answer may end earlier where the context is used up."""
        assert materials.encoder is not None and materials.generating is not None, "nothing to generate with"
        settings = Settings.of(materials.generating, stop_ids=materials.encoder.stop_ids, elastic=True)
        return cls(materials.encoder.tokenizer, settings, tuple(rewards), each, scorer, weight)

    def experience(self, model: Any, batches: Sequence[Batch], *, seed: int) -> list[dict[str, Tensor]]:
        """For each batch of prompts one row of answers after their questions, in segments, `each` to a question:
        the tensors of a flattened batch (labels at the answers), `sampled` [N], the log-probability of each label as it
        was drawn, and [S] each of `rewards/…`, `reward` (their weighed sum) and `ended`."""
        asked = [questions(batch) for batch in batches]
        prompts = [prompt for one in asked for prompt, _ in one]
        answers = answer_all(unwrapped(model), prompts, replace(self.settings, seed=seed), each=self.each)
        judged = self._judged([side for one in asked for side in one], answers)
        made, start = [], 0
        for one in asked:
            stop = start + len(one) * self.each
            row = _row([prompt for prompt, _ in one for _ in range(self.each)], answers[start:stop])
            worth = {name: torch.tensor(values[start:stop]) for name, values in judged.items()}
            made.append({name: value.to(model.device) for name, value in (row | worth).items()})
            start = stop
        return made

    def _judged(
        self, asked: Sequence[tuple[list[int], list[int]]], answers: Sequence[Answer]
    ) -> Mapping[str, list[float]]:
        """What each reward says of each answer, and all of them, weighed."""
        prompts = [self.tokenizer.decode(prompt) for prompt, _ in asked for _ in range(self.each)]
        right = [
            self.tokenizer.decode(answer, skip_special_tokens=True) for _, answer in asked for _ in range(self.each)
        ]
        said = [self.tokenizer.decode(answer.ids, skip_special_tokens=True) for answer in answers]
        found: dict[str, list[float]] = {}
        total = [0.0] * len(answers)
        for reward in self.rewards:
            values = reward(prompts, said, right)
            found[_free(REWARD + reward.name, found)] = values
            total = [sum_ + reward.weight * value for sum_, value in zip(total, values, strict=True)]
        if self.scorer is not None:
            scores = self.scorer([prompt for prompt, _ in asked for _ in range(self.each)], answers)
            found[REWARD + "reward_model"] = scores
            total = [sum_ + self.scorer_weight * value for sum_, value in zip(total, scores, strict=True)]
        return {**found, "reward": total}


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, numbered where two rewards share it."""
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _row(prompts: Sequence[Sequence[int]], answers: Sequence[Answer]) -> dict[str, Tensor]:
    examples = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = np.array([*prompt, *answer.ids], dtype=np.int32)
        labels = ids.copy()
        labels[: len(prompt)] = IGNORED
        examples.append(Example(ids, labels))
    return {
        **collate(examples),
        "sampled": torch.tensor([logprob for answer in answers for logprob in answer.logprobs]),
        "ended": torch.tensor([float(answer.ended) for answer in answers]),
    }
