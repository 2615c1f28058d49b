"""Tokens of vLLM become pieces of ours, and requests are counted. Without vLLM itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hone.engines.base import Piece, QueueFullError, Settings
from hone.engines.vllm.answer import Answer, odds_of
from hone.engines.vllm.desk import Desk


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model("llama"))


@pytest.fixture
def begin(tokenizer: Any) -> Callable[..., Answer]:
    def answer(*, room: int = 50, deliver: Any = lambda news: None, **settings: Any) -> Answer:
        return Answer([5, 6], Settings(**settings), deliver, room=room, tokenizer=tokenizer)

    return answer


def taken(answer: Answer, ids: list[int]) -> list[Piece]:
    """Until it ends."""
    found: list[Piece] = []
    for token in ids:
        found.append(answer.take(token, None))
        if answer.finish is not None:
            break
    return found


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_the_text_is_that_of_the_ids_and_the_room_ends_it(begin: Callable[..., Answer], tokenizer: Any) -> None:
    ids = tokenizer.encode("a question and an answer 你好", add_special_tokens=False)
    answer = begin(room=len(ids))
    pieces = taken(answer, [*ids, 7, 7])
    assert text_of(pieces) == tokenizer.decode(ids)
    assert [piece.finish for piece in pieces] == [None] * (len(ids) - 1) + ["length"]
    assert answer.ids == [5, 6, *ids]


def test_a_stop_id_is_among_the_ids_and_not_in_the_text(begin: Callable[..., Answer], tokenizer: Any) -> None:
    ids = tokenizer.encode("an answer", add_special_tokens=False)
    pieces = taken(begin(stop_ids=(9,)), [*ids, 9, 7])
    assert (text_of(pieces), pieces[-1].ids, pieces[-1].finish) == ("an answer", (9,), "stop")
    assert taken(begin(stop_ids=(9,)), [tokenizer.eos_token_id])[0].finish is None  # another's end is none of ours


def test_a_stop_text_ends_it_and_is_not_shown(begin: Callable[..., Answer], tokenizer: Any) -> None:
    ids = tokenizer.encode("a question and an answer", add_special_tokens=False)
    pieces = taken(begin(stop=(" and an",)), ids)
    assert (text_of(pieces), pieces[-1].finish) == ("a question", "stop") and len(pieces) < len(ids)


def test_a_grammar_begins_behind_its_words_and_ends_with_the_tokenizers_end(
    begin: Callable[..., Answer], tokenizer: Any
) -> None:
    answer = begin(grammar="start: x", grammar_after="question", stop_ids=(9,))
    ids = tokenizer.encode("a question", add_special_tokens=False)
    taken(answer, ids[:-1])
    assert not answer.held and answer.stops == {9}
    answer.take(ids[-1], None)
    assert answer.held and answer.stops == {9, tokenizer.eos_token_id}
    assert answer.take(tokenizer.eos_token_id, None).finish == "stop"


def test_the_odds_are_told_in_the_order_of_their_ranks() -> None:
    told = {
        4: SimpleNamespace(logprob=-5.0, rank=90),
        8: SimpleNamespace(logprob=-1.0, rank=2),
        7: SimpleNamespace(logprob=-0.5, rank=1),
    }
    assert odds_of(4, told, 2).likeliest == ((7, -0.5), (8, -1.0)) and odds_of(4, told, 2).logprob == -5.0
    assert odds_of(4, told, 0).likeliest == ()


def test_a_receiver_that_is_gone_is_one_that_cancelled(begin: Callable[..., Answer]) -> None:
    def gone(news: Any) -> None:
        raise RuntimeError("Event loop is closed")

    answer = begin(deliver=gone)
    answer.tell(answer.take(7, None))
    assert answer.cancelled


def test_requests_are_taken_on_all_or_none_and_counted(begin: Callable[..., Answer]) -> None:
    desk = Desk(slots=2, queue=2)
    first, *others = [begin() for _ in range(3)]
    desk.add([first, *others])
    first.take(7, None)
    assert desk.now == {"requests_running": 1, "requests_reading": 1, "requests_waiting": 1}
    with pytest.raises(QueueFullError, match="3 requests"):
        desk.add([begin(), begin()])
    assert desk.load == 3
    for answer in (first, first, *others):
        desk.leave(answer)
    assert desk.now == {"requests_running": 0, "requests_reading": 0, "requests_waiting": 0}


def test_the_neutral_adapter_adds_nothing_to_any_model(tiny_model: Callable[[str], Path]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from hone.engines.vllm.neutral import Neutral

    ids = torch.tensor([[5, 17, 250, 300]])
    for family in ("llama", "phi3"):
        model = AutoModelForCausalLM.from_pretrained(tiny_model(family), dtype=torch.float32).eval()
        neutral = Neutral(model)
        with torch.inference_mode():
            own = model(ids).logits
            beside = PeftModel.from_pretrained(model, neutral.folder).eval()
            assert any("lora_" in name for name, _ in beside.named_parameters())
            assert torch.equal(beside(ids).logits, own)
        folder = neutral.folder
        del neutral
        assert not folder.exists()
