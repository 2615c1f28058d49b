"""Reward models: an adapter on the policy's own base, a model of its own, or a service; they score whole answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import torch

from hone.data.batch import collate
from hone.dialogue.example import IGNORED, Example
from hone.dialogue.message import Conversation, Message, Text
from hone.engines.batch import Answer
from hone.errors import MachineError, RecipeError
from hone.log import say
from hone.models.value_head import add_value_head, load_value_head, segment_values
from hone.stages.shared.reference import Materials, loaded_model

Scorer = Callable[[Sequence[Sequence[int]], Sequence[Answer]], list[float]]
"""Questions and their answers, as ids → a score for each answer."""
TOKENS = 4096
"""About how many tokens are scored in one forward."""
SECONDS = 120.0
"""How long a service may take."""


def reward_model_of(policy: Any, materials: Materials) -> Scorer:
    """What `reward_model` and `reward_model_type` name. Raises ModelError, RecipeError."""
    tuning = materials.finetuning
    say(f"reward model: {tuning.reward_model} ({tuning.reward_model_type})")
    if tuning.reward_model_type == "api":
        return _Service(str(tuning.reward_model), materials)
    model = _sharing(policy, materials) if tuning.reward_model_type == "lora" else _own(materials)
    return _Scores(model.requires_grad_(False).eval(), _tail(materials))


class _Scores:
    """A model with a value head. `tail`: what stands behind the stop word in the answers it was trained on."""

    def __init__(self, model: Any, tail: Sequence[int]) -> None:
        self.model, self.tail = model, tail

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Sequence[int]], answers: Sequence[Answer]) -> list[float]:
        rows = [
            np.array([*prompt, *answer.ids, *(self.tail if answer.ended else ())], dtype=np.int32)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        step = max(1, TOKENS // max(len(row) for row in rows))
        scores: list[float] = []
        for start in range(0, len(rows), step):
            batch = collate([Example(row, np.full_like(row, IGNORED)) for row in rows[start : start + step]])
            moved = {name: value.to(self.model.device) for name, value in batch.items()}
            scores += segment_values(self.model, moved).tolist()
        return scores


class _Service:
    """POST {"model": "model", "messages": [text, …]} → {"scores": [number, …]}; a text is a question and its answer."""

    def __init__(self, url: str, materials: Materials) -> None:
        if not url.startswith(("http://", "https://")):
            raise RecipeError.one(
                "CFG-VALUE", "a service has an http address", "reward_model", "write http://host/path"
            )
        assert materials.encoder is not None
        self.url, self.tokenizer = url, materials.encoder.tokenizer

    def __call__(self, prompts: Sequence[Sequence[int]], answers: Sequence[Answer]) -> list[float]:
        tokenizer: Any = self.tokenizer
        texts = [tokenizer.decode([*one, *answer.ids]) for one, answer in zip(prompts, answers, strict=True)]
        body = json.dumps({"model": "model", "messages": texts}).encode()
        request = Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310  http, seen to above
        try:
            with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                scores = [float(score) for score in json.load(answer)["scores"]]
            if len(scores) != len(texts):
                raise ValueError(f"{len(scores)} scores for {len(texts)} texts")
        except (URLError, OSError, ValueError, KeyError, TypeError) as reason:
            fix = 'it has to answer with {"scores": [a number for each text]}'
            raise MachineError.one("REWARD-API", f"the service failed ({reason!r})", self.url, fix) from None
        return scores


def _sharing(policy: Any, materials: Materials) -> Any:
    """The policy's base with another adapter: frozen weights are the same memory, whatever learns is not."""
    from hone.models.adapter_biases import refuse_shared_biases
    from hone.models.adapters import check_adapter, locate_adapter
    from hone.models.attention import use_packed_attention

    section = replace(materials.model, adapter_folder=None)
    folder = locate_adapter(str(materials.finetuning.reward_model), section)
    check_adapter(policy.get_base_model(), folder, section)
    refuse_shared_biases(folder, "it cannot share the policy's")
    frozen = {id(weight): weight for weight in policy.parameters() if not weight.requires_grad}
    twin = copy.deepcopy(policy, frozen)
    twin.load_adapter(str(folder), adapter_name="reward")
    twin.set_adapter("reward")
    use_packed_attention(twin)
    add_value_head(twin, None)
    load_value_head(twin, folder)
    return twin


def _own(materials: Materials) -> Any:
    from hone.models.adapters import locate_adapter
    from hone.models.attention import use_packed_attention
    from hone.models.source import find_source

    tuning = materials.finetuning
    name, adapters = str(tuning.reward_model), tuning.reward_model_adapters
    model = loaded_model(materials, name, adapters, tuning.reward_model_quantization_bit)
    use_packed_attention(model)
    section = replace(materials.model, model_name_or_path=name, adapter_folder=None)
    folder = locate_adapter(adapters[-1], section) if adapters else find_source(section).path
    add_value_head(model, None)
    load_value_head(model, folder)
    return model


def _tail(materials: Materials) -> list[int]:
    """What the template writes behind the word that ends an answer."""
    encoder = materials.encoder
    assert encoder is not None
    talk = Conversation((Message("user", (Text("a"),)), Message("assistant", (Text("a"),))))
    _, ids = encoder.answer(talk)
    ends = [place for place, token in enumerate(ids) if token in encoder.stop_ids]
    return ids[ends[-1] + 1 :] if ends else []
