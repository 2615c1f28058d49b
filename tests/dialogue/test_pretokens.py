"""Pieces asked of a tokenizer's model alone give the ids that the tokenizer itself gives."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from hone.dialogue.pretokenizer import PATTERNS
from hone.dialogue.pretokens import Pretokens, asked

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
IDEOGRAMS = "中文字數据丁万京他令前剎かなカ한글"
LETTERS = [
    *IDEOGRAMS,
    *"aabst ,.'-12340éЖ，。“x\n\t\r ²٣ⅷª\u0301\u3099\u200b\u00a0K",
    "  ",
    "\n\n",
    "'s",
    " '",
    "<|end|>",
]


def split(pattern: str) -> Any:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])


def digits(*, individual: bool) -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=individual), BYTES])


CUTS = {
    "gpt2": (BYTES, None),
    "digits": (digits(individual=True), None),
    "numbers": (digits(individual=False), None),
    **{f"pattern {place}": (split(pattern), normalizers.NFC()) for place, pattern in enumerate(sorted(PATTERNS))},
}


def trained(
    step: Any, normalizer: Any = None, *, letters: list[str] = LETTERS, suffix: str = "", **model: Any
) -> Tokenizer:
    """A tokenizer with a few hundred merges, some of them between letters of `letters`."""
    made = Tokenizer(models.BPE(**model))
    made.pre_tokenizer, made.normalizer = step, normalizer
    chance = random.Random(1)
    texts = ["".join(chance.choices(letters, k=60)) for _ in range(300)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    made.add_tokens([AddedToken("<|end|>", normalized=False)])
    if suffix:
        made.model.end_of_word_suffix = suffix
    return made


def texts_of(letters: list[str], count: int) -> list[str]:
    chance = random.Random(2)
    return ["".join(chance.choices(letters, k=chance.randint(0, 12))) for _ in range(count)]


@pytest.mark.parametrize("learned", ["everything", "no numbers", "no neighbours"])
@pytest.mark.parametrize("cut", CUTS)
def test_ids_are_the_tokenizers_own(cut: str, learned: str) -> None:
    spoilt = {"everything": "", "no numbers": "12340", "no neighbours": "12340" + IDEOGRAMS}[learned]
    backend = trained(*CUTS[cut], letters=[letter for letter in LETTERS if letter not in spoilt or letter == "'s"])
    pretokens = Pretokens(backend)
    for letters in (LETTERS, [*IDEOGRAMS, " "], [*"0123", " "]):
        texts = texts_of(letters, 2000)
        assert pretokens.asked(texts) == asked(backend, texts)
    assert pretokens._cut is not None and pretokens._pieces
    assert pretokens.digits_apart == (learned != "everything" or cut in ("digits", "pattern 1"))


def test_ideograms_that_no_token_joins_are_asked_for_alone() -> None:
    backend = trained(BYTES, letters=list("abc ,"))
    pretokens = Pretokens(backend)
    pretokens.asked(texts_of(list(IDEOGRAMS), 2000))
    assert pretokens._pieces is not None and set(pretokens._pieces) == set(IDEOGRAMS)


@pytest.mark.parametrize(
    "backend",
    [
        trained(split(r"\w+|\W"), letters=list("ab")),
        trained(BYTES, letters=list("ab"), unk_token="?", fuse_unk=True),
        trained(BYTES, letters=list("ab"), suffix="b"),
    ],
)
def test_what_is_not_known_is_left_to_the_tokenizer(backend: Tokenizer) -> None:
    pretokens = Pretokens(backend)
    texts = texts_of(LETTERS, 2000)
    assert pretokens.asked(texts) == asked(backend, texts)
    assert pretokens._pieces is None


def test_few_words_leave_the_vocabulary_unread() -> None:
    pretokens = Pretokens(trained(BYTES))
    pretokens.asked(["a few", "words"])
    assert pretokens._pieces is None


def test_a_full_memory_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hone.dialogue.pretokens.MOST", 50)
    backend = trained(BYTES)
    pretokens = Pretokens(backend)
    for texts in (texts_of(LETTERS, 1000), texts_of(list("abst "), 1000)):
        assert pretokens.asked(texts) == asked(backend, texts)
    assert pretokens._pieces is not None and not any(set(piece) & set(IDEOGRAMS) for piece in pretokens._pieces)
