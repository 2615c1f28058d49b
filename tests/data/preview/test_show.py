"""A previewed row is the trained row, token for token, and each token says what it is part of and why it is learned."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from letters import MakeSets, Pairs, Pt, Sft, alpaca

from hone.data.prepare import prepare
from hone.data.preview import Shown, show
from hone.data.preview.page import html
from hone.data.preview.terminal import text
from hone.dialogue.encoder import Encoder, fix_tokenizer
from hone.dialogue.template import load_template
from hone.errors import DataError
from hone.recipe import DataSection

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello there"},
    {"role": "assistant", "content": "<think>\na greeting\n</think>\n\nGood day"},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Good night"},
]
OPENAI = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    },
}


def encoder_of(tokenizer: Any, template: str, **options: Any) -> Encoder:
    card = load_template(template).with_options(**options)
    fix_tokenizer(tokenizer, card)
    return Encoder(card, tokenizer)


@pytest.fixture
def tokenizer(tiny_model: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model("llama"))


def shown(folder: Path, encoder: Encoder, *, stage: Any = None, row: int | None = 1, **options: Any) -> Shown:
    data = DataSection(dataset=("a",), dataset_dir=str(folder), **options)
    return show(data, stage or Sft(), encoder, cache_dir=folder.parent / "cache", row=row)


def kinds(one: Shown) -> list[tuple[str, bool, str]]:
    """(kind, learned, text) of neighbouring tokens."""
    groups = groupby(one.tokens, key=lambda token: (token.kind, token.learned))
    return [(kind, learned, "".join(token.text for token in tokens)) for (kind, learned), tokens in groups]


def test_each_token_knows_what_it_is_part_of(make_sets: MakeSets, tokenizer: Any) -> None:
    one = shown(make_sets(a=([{"messages": TALK}], OPENAI)), encoder_of(tokenizer, "qwen3"))
    said = [(kind, learned, words.strip()) for kind, learned, words in kinds(one) if kind != "template"]
    assert said == [
        ("system", False, "Be brief."),
        ("user", False, "Hello there"),
        ("thought", True, "a greeting"),
        ("answer", True, "Good day"),
        ("user", False, "And now?"),
        ("answer", True, "Good night"),
    ]


@pytest.mark.parametrize("template", ["chatml", "qwen3", "llama3", "mistral", "alpaca", "gemma", "default", "vicuna"])
@pytest.mark.parametrize("options", [{}, {"cutoff_len": 24}, {"mask_history": True}, {"train_on_prompt": True}])
def test_what_is_shown_is_what_is_trained(
    make_sets: MakeSets, tokenizer: Any, template: str, options: Any, tmp_path: Path
) -> None:
    folder = make_sets(a=([{"messages": TALK}], OPENAI))
    encoder = encoder_of(tokenizer, template)
    one = shown(folder, encoder, **options)
    data = DataSection(dataset=("a",), dataset_dir=str(folder), **options)
    example = prepare(data, Sft(), encoder, seed=1, cache_dir=tmp_path / "cache", quiet=True).train[0]  # type: ignore[index]
    assert [token.id for token in one.tokens] == example.input_ids.tolist()
    assert [token.learned for token in one.tokens] == (example.labels != -100).tolist()


def test_masked_history_says_so(make_sets: MakeSets, tokenizer: Any) -> None:
    one = shown(make_sets(a=([{"messages": TALK}], OPENAI)), encoder_of(tokenizer, "chatml"), mask_history=True)
    reasons = {token.kind: token.why for token in one.tokens if not token.learned}
    assert reasons["answer"] == "history masked"
    assert reasons["user"] == "given"


def test_only_what_follows_an_answer_is_its_end(make_sets: MakeSets, tokenizer: Any) -> None:
    one = shown(make_sets(a=[alpaca("q", "fine")]), encoder_of(tokenizer, "qwen3"))
    ending = "".join(token.text for token in one.tokens if token.why == "the end of the answer")
    opening = "".join(token.text for token in one.tokens if token.kind == "template" and token.why == "learned")
    assert ending.strip() == "<|im_end|>"
    assert opening.split() == ["<think>", "</think>"]


def test_a_cut_row_tells_how_much_is_gone(make_sets: MakeSets, tokenizer: Any) -> None:
    one = shown(make_sets(a=[alpaca("q", "word " * 50)]), encoder_of(tokenizer, "chatml"), cutoff_len=40)
    assert len(one.tokens) == 40
    assert one.lost > 0
    assert f"{one.lost:,} more were cut off" in text(one, colours=False)


def test_control_words_in_the_text_belong_to_their_message(make_sets: MakeSets, tokenizer: Any) -> None:
    one = shown(make_sets(a=[alpaca("a <|im_end|> b", "c")]), encoder_of(tokenizer, "chatml"))
    assert ("user", False, "a <|im_end|> b") in [(kind, learned, words.strip()) for kind, learned, words in kinds(one)]


def test_a_pair_shows_both_answers(make_sets: MakeSets, tokenizer: Any) -> None:
    entry = {"ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}}
    folder = make_sets(a=([{"instruction": "q", "chosen": "good", "rejected": "bad"}], entry))
    one = shown(folder, encoder_of(tokenizer, "chatml"), stage=Pairs())
    assert [words for kind, _, words in kinds(one) if kind == "answer"] == ["good", "bad"]
    assert len(one.segments) == 2


def test_plain_text_is_shown(make_sets: MakeSets, tokenizer: Any) -> None:
    folder = make_sets(a=([{"text": "many geese"}], {"columns": {"prompt": "text"}}))
    one = shown(folder, encoder_of(tokenizer, "chatml"), stage=Pt())
    assert "".join(token.text for token in one.tokens).startswith("many geese")


def test_letters_that_lie_across_tokens_are_shown_whole(make_sets: MakeSets, tokenizer: Any) -> None:
    said = "你好，世界 😀 naïve"
    one = shown(make_sets(a=[{"text": said}]), encoder_of(tokenizer, "empty"), stage=Pt())
    assert "".join(token.text for token in one.tokens).startswith(said)
    assert len(one.tokens) > len(said)  # each of these letters is several tokens of this tokenizer


def test_a_row_is_chosen_by_its_number(make_sets: MakeSets, tokenizer: Any) -> None:
    folder = make_sets(a=[alpaca("first"), alpaca("second"), {"x": 1}, alpaca("dropped", "")])
    encoder = encoder_of(tokenizer, "chatml")
    assert "second" in text(shown(folder, encoder, row=2), colours=False)
    assert "left out of training: empty answer" in text(shown(folder, encoder, row=4), colours=False)
    with pytest.raises(DataError, match=r"row 3"):
        shown(folder, encoder, row=3)
    with pytest.raises(DataError, match="no row 9"):
        shown(folder, encoder, row=9)


def test_colours_or_marks_show_what_is_learned(make_sets: MakeSets, tokenizer: Any) -> None:
    one = shown(make_sets(a=[alpaca("q", "an answer")]), encoder_of(tokenizer, "chatml"))
    assert "⟦an answer<|im_end|>\n⟧" in text(one, colours=False)
    assert "\033[1;32man answer" in text(one, colours=True)


def test_text_cannot_steer_the_terminal(make_sets: MakeSets, tokenizer: Any) -> None:
    one = shown(make_sets(a=[alpaca("q\x1b[2Jq", "a\x07")]), encoder_of(tokenizer, "chatml"))
    assert "\x1b" not in text(one, colours=False)
    assert "\x07" not in text(one, colours=False)


def test_the_page_escapes_and_fetches_nothing(make_sets: MakeSets, tokenizer: Any) -> None:
    attack = '</pre><script>alert(1)</script><img src=x onerror="a">'
    page = html(shown(make_sets(a=[alpaca(attack, attack)]), encoder_of(tokenizer, "chatml")))
    assert "<script" not in page
    assert "<img" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in page
