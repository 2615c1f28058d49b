"""A tiny encoder without a real tokenizer, and stages to go with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from hone.data.encode import encode_document, encode_pair, encode_sft
from hone.data.stage import Encoded, Limits
from hone.dialogue.example import TokenIds
from hone.dialogue.message import Conversation
from hone.dialogue.records import Chat, Document, Preference

MakeSets = Callable[..., Path]
END = 2
FIRST_LETTER = 100


def _ids(tokens: Sequence[int]) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


@dataclass
class LetterEncoder:
    """One token a letter, token 2 at the end of an answer; nothing around what is said."""

    mark: str = "letters"
    efficient_eos: bool = False
    eos_id: int = END
    pad_id: int = 0
    bos_id: int | None = None
    adds_bos: bool = False

    @property
    def tokenizer(self) -> Any:
        return SimpleNamespace(add_bos_token=self.adds_bos)

    def turns_batch(
        self, conversations: Sequence[Conversation], *, mask_history: bool = False
    ) -> list[list[tuple[TokenIds, TokenIds]]]:
        return [[(_ids(source), _ids(target)) for source, target in self._turns(one)] for one in conversations]

    def _turns(self, conversation: Conversation) -> list[tuple[list[int], list[int]]]:
        turns, source = [], []
        for message in conversation.messages:
            ids = [FIRST_LETTER + ord(letter) for letter in message.text]
            if message.role == "assistant":
                turns.append((source, [*ids, END]))
                source = []
            else:
                source = [*source, *ids]
        return turns

    def answers_batch(self, conversations: Sequence[Conversation]) -> list[tuple[TokenIds, TokenIds]]:
        cut = [self._turns(one) for one in conversations]
        before = [[token for source, target in turns[:-1] for token in source + target] for turns in cut]
        return [(_ids(given + turns[-1][0]), _ids(turns[-1][1])) for given, turns in zip(before, cut, strict=True)]

    def shown(self, conversation: Conversation) -> Conversation:
        return conversation

    def document(self, text: str) -> list[int]:
        return [*(FIRST_LETTER + ord(letter) for letter in text), END]

    def fingerprint(self) -> str:
        return self.mark


@dataclass(frozen=True)
class Sft:
    name: str = "sft"
    record: type = Chat
    joining: Literal["fit", "stream"] = "fit"

    def encode(self, records: Sequence[Any], encoder: Any, limits: Limits) -> list[Encoded]:
        return encode_sft(records, encoder, limits)


@dataclass(frozen=True)
class Pt:
    name: str = "pt"
    record: type = Document
    joining: Literal["fit", "stream"] = "stream"

    def encode(self, records: Sequence[Any], encoder: Any, limits: Limits) -> list[Encoded]:
        return encode_document(records, encoder, limits)


@dataclass(frozen=True)
class Pairs:
    name: str = "dpo"
    record: type = Preference
    joining: Literal["fit", "stream"] = "fit"

    def encode(self, records: Sequence[Any], encoder: Any, limits: Limits) -> list[Encoded]:
        return encode_pair(records, encoder, limits)


def alpaca(question: str, answer: Any = "yes") -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer}
