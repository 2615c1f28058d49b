"""Remembered words give the ids that the tokenizer itself gives, and step aside where they might not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from hone.dialogue.pretokenizer import PATTERNS
from hone.dialogue.pretokens import asked
from hone.dialogue.words import Words

LETTERS = list("aab bc  \n\n\t\r '.,!?-12 3éñ中文。🙂\u00a0\u0301\u200b\u180e\u3000\x1c\x85sSſK")
PARTS = [*LETTERS, "<|end|>", " the", " there", "'ll", " <|end|> ", "\n ", "mother", "motto"]
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split(pattern: str) -> Any:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])


def trained(step: Any, *, normalizer: Any = None, added: AddedToken | None = None) -> Tokenizer:
    """A tokenizer that has learned a few hundred merges."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.normalizer = step, normalizer
    chance = random.Random(1)
    texts = ["".join(chance.choices(PARTS, k=60)) for _ in range(300)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False))
    made.add_tokens([added or AddedToken("<|end|>", normalized=False)])
    return made


KINDS = {
    "gpt2": (BYTES, None),
    "digits": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES]), None),
    **{pattern[-80:]: (split(pattern), normalizers.NFC()) for pattern in sorted(PATTERNS)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_the_tokenizers_own(kind: str) -> None:
    step, normalizer = KINDS[kind]
    backend = trained(step, normalizer=normalizer)
    words = Words.of(backend)
    assert words is not None
    chance = random.Random(2)
    for _ in range(20):
        texts = ["".join(chance.choices(PARTS, k=chance.randint(0, 60))) for _ in range(100)]
        assert words.encode(texts) == asked(backend, texts)


@pytest.mark.parametrize(
    "backend",
    [
        trained(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        trained(split(r"\w+\s\w+|.")),
        trained(pre_tokenizers.Metaspace()),
        trained(BYTES, normalizer=normalizers.Lowercase()),
        trained(BYTES, added=AddedToken("<|end|>", lstrip=True)),
        trained(BYTES, added=AddedToken("two words")),
    ],
)
def test_a_tokenizer_whose_words_may_depend_on_each_other_is_left_alone(backend: Tokenizer) -> None:
    assert Words.of(backend) is None


def test_a_full_memory_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hone.dialogue.words.MOST", 50)
    backend = trained(BYTES)
    words = Words.of(backend)
    assert words is not None
    for start in range(0, 400, 40):
        texts = [f"word {number} and {number + 1}" for number in range(start, start + 40)]
        assert words.encode(texts) == asked(backend, texts)
    assert len(words._known) < 150
