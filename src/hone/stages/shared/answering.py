"""What stages share that learn from answers which the model writes in training: questions, rewards, a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from hone.data.encode import encode_prompt
from hone.data.stage import Encoded, Limits
from hone.dialogue.example import IGNORED, Example
from hone.dialogue.records import Chat
from hone.stages.shared.cutting import cut_rows
from hone.stages.shared.plain import PlainStage
from hone.stages.shared.reference import Materials, Reference
from hone.stages.shared.reward_model import reward_model_of
from hone.stages.shared.rollout import REWARD, Rollout, prompt_batch
from hone.training.rewards import load_reward
from hone.training.stage import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from hone.recipe import FinetuningSection


class AnsweringStage(PlainStage):
    """Rows are questions; answers are judged by the rewards of the recipe. The loss is a sum over tokens of answers."""

    record = Chat
    joining: Literal["fit", "stream"] = "fit"
    parts = ("question ", "answer ")
    asks = True
    """A row without an answer is kept."""
    blind = "the model writes its answers in training to questions of text alone"
    curves = ("reward",)
    size = 1
    """Answers to each question."""
    by_token: tuple[str, ...] = ("sampled", "old")
    """What experience holds of each token of an answer, beside the tokens."""
    by_answer: tuple[str, ...] = ("reward", "ended")
    """What it holds of each answer, beside `rewards/…`."""

    def __init__(self, finetuning: FinetuningSection) -> None:
        self.named, self.weights = finetuning.reward_funcs, finetuning.reward_weights
        self.reference: Reference | None = None
        self.rollout: Rollout | None = None

    def equip(self, model: Any, materials: Materials) -> None:
        """The rewards and the reward model, and what answers are written with."""
        weights = self.weights or (1.0,) * (len(self.named) + 1)
        rewards = [load_reward(name, weight) for name, weight in zip(self.named, weights, strict=False)]
        scorer = reward_model_of(model, materials) if materials.finetuning.reward_model else None
        self.rollout = Rollout.of(materials, rewards, self.size, scorer, weights[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Loader processes only collate."""
        return {**super().__getstate__(), "rollout": None}

    def encode(self, records: Sequence[Chat], encoder: Any, limits: Limits) -> list[Encoded]:
        """A question, and the answer that rewards may compare with."""
        return encode_prompt(records, encoder, limits)

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Questions; what is learned from is made of them by `gather`."""
        return prompt_batch(examples)

    def cut(self, batch: Batch) -> Sequence[Batch]:
        """Experience in two, between answers; whatever compares answers has been made when they were gathered."""
        by_answer = [name for name in batch if name.startswith(REWARD)]
        return cut_rows(batch, by_token=self.by_token, by_answer=(*by_answer, *self.by_answer))

    def weight(self, batch: Batch) -> Tensor:
        """The tokens of the answers."""
        return (batch["labels"] != IGNORED).sum()
