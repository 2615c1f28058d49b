"""The built-in engine: the ids of transformers' own greedy search, pieces that join, and endings that are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hone.engines.base import Piece, PromptTooLongError, QueueFullError, Settings

PROMPT = [5, 17, 250, 300, 41, 7, 99]


@pytest.fixture(scope="module")
def load(tiny_model: Callable[[str], Path]) -> Callable[[str], tuple[Any, Any]]:
    def make(family: str) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = tiny_model(family)
        return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    return make


@pytest.fixture(scope="module")
def engine(load: Callable[[str], tuple[Any, Any]]) -> Any:
    from hone.engines.torch import TorchEngine

    return TorchEngine(*load("llama"))


def greedy(**changes: Any) -> Settings:
    return Settings(do_sample=False, **changes)


def ids_of(pieces: list[Piece]) -> list[int]:
    return [token for piece in pieces for token in piece.ids]


@pytest.mark.parametrize("family", ["llama", "llama_tied", "qwen2", "qwen3", "mistral", "gemma3", "phi3"])
def test_greedy_ids_are_those_of_transformers_generate(load: Callable[[str], tuple[Any, Any]], family: str) -> None:
    import torch

    from hone.engines.torch import TorchEngine

    model, tokenizer = load(family)
    length = 80 if family in ("mistral", "gemma3") else 24  # beyond the sliding windows of 64
    whole = model.generate(
        torch.tensor([PROMPT]), max_new_tokens=length, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    pieces = list(TorchEngine(model, tokenizer).generate(PROMPT, greedy(max_new_tokens=length)))
    assert ids_of(pieces) == whole[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize("settings", [greedy(repetition_penalty=1.3), Settings(temperature=0.0)])
def test_temperature_zero_is_greedy_and_a_penalty_is_transformers_own(engine: Any, settings: Settings) -> None:
    import torch

    whole = engine.model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=24,
        do_sample=False,
        repetition_penalty=settings.repetition_penalty,
        eos_token_id=None,
        pad_token_id=0,
    )
    limited = Settings(**{**vars(settings), "max_new_tokens": 24})
    assert ids_of(list(engine.generate(PROMPT, limited))) == whole[0, len(PROMPT) :].tolist()


def test_the_same_seed_draws_the_same_and_another_differs(engine: Any) -> None:
    def drawn(seed: int) -> list[int]:
        return ids_of(list(engine.generate(PROMPT, Settings(seed=seed, top_k=0, top_p=1.0, max_new_tokens=24))))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("skip", [True, False])
def test_the_pieces_join_to_the_text_of_all_ids(engine: Any, skip: bool) -> None:
    pieces = list(
        engine.generate(PROMPT, Settings(seed=3, top_k=0, top_p=1.0, max_new_tokens=120, skip_special_tokens=skip))
    )
    whole = engine.tokenizer.decode(ids_of(pieces), skip_special_tokens=skip, clean_up_tokenization_spaces=False)
    assert "".join(piece.text for piece in pieces) == whole


def test_a_stop_id_ends_the_answer_and_is_not_shown(engine: Any) -> None:
    free = list(engine.generate(PROMPT, greedy(max_new_tokens=16)))
    stop = free[5].ids[0]
    first = [piece.ids[0] for piece in free].index(stop)
    stopped = list(engine.generate(PROMPT, greedy(max_new_tokens=16, stop_ids=(stop,))))
    assert [piece.ids for piece in stopped] == [piece.ids for piece in free[: first + 1]]
    assert stopped[-1].finish == "stop"
    assert all(piece.finish is None for piece in stopped[:-1])
    assert "".join(piece.text for piece in stopped) == engine.tokenizer.decode(ids_of(stopped)[:-1])


def test_room_used_up_is_told_as_length(engine: Any) -> None:
    pieces = list(engine.generate(PROMPT, greedy(max_new_tokens=4)))
    assert (len(pieces), pieces[-1].finish) == (4, "length")


def test_max_length_counts_the_prompt_where_max_new_tokens_is_zero(engine: Any) -> None:
    assert len(list(engine.generate(PROMPT, greedy(max_new_tokens=0, max_length=len(PROMPT) + 3)))) == 3


@pytest.mark.parametrize("settings", [greedy(max_new_tokens=506), greedy(max_new_tokens=0, max_length=7)])
def test_what_does_not_fit_is_refused_before_the_first_piece(engine: Any, settings: Settings) -> None:
    with pytest.raises(PromptTooLongError, match="tokens"):
        engine.generate(PROMPT, settings)


def test_a_length_that_nobody_asked_for_shrinks_to_what_the_context_leaves(engine: Any) -> None:
    prompt = [5] * 509
    assert len(list(engine.generate(prompt, greedy(elastic=True)))) == 3
    with pytest.raises(PromptTooLongError, match="shorten the prompt"):
        engine.generate([5] * 512, greedy(elastic=True))


PROMPTS = [PROMPT, [9, 8], list(range(3, 90)), [44] * 30, list(range(100, 300, 2))]


def answers(engine: Any, prompts: list[list[int]], settings: list[Settings]) -> list[list[int]]:
    """All asked at once."""
    asked = [engine.generate(prompt, one) for prompt, one in zip(prompts, settings, strict=True)]
    return [ids_of(list(pieces)) for pieces in asked]


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3", "phi3"])
def test_greedy_answers_are_generates_own_whoever_joins_and_leaves(
    load: Callable[[str], tuple[Any, Any]], family: str
) -> None:
    import torch

    from hone.engines.torch import TorchEngine

    model, tokenizer = load(family)
    lengths = [70, 5, 40, 90, 12]
    expected = [
        model.generate(
            torch.tensor([prompt]), max_new_tokens=length, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(prompt) :].tolist()
        for prompt, length in zip(PROMPTS, lengths, strict=True)
    ]
    busy = TorchEngine(model, tokenizer, slots=3)
    assert answers(busy, PROMPTS, [greedy(max_new_tokens=length) for length in lengths]) == expected
    assert getattr(busy.scheduler.board, "together", True)
    assert (type(busy.scheduler.board).__name__ == "QuickBoard") is (family != "gemma3")


def test_a_model_that_cannot_share_a_batch_is_asked_one_by_one(load: Callable[[str], tuple[Any, Any]]) -> None:
    from hone.engines.torch import TorchEngine

    engine = TorchEngine(*load("gemma3"))
    wanted = [greedy(max_new_tokens=9)] * len(PROMPTS)
    together = answers(engine, PROMPTS, wanted)
    apart = TorchEngine(*load("gemma3"))
    apart.scheduler.board._together = False
    assert answers(apart, PROMPTS, wanted) == together


def test_a_prompt_that_begins_as_another_did_is_read_from_there(load: Callable[[str], tuple[Any, Any]]) -> None:
    from hone.engines.torch import TorchEngine

    used = TorchEngine(*load("llama"))
    wanted = greedy(max_new_tokens=20)
    answers(used, PROMPTS, [wanted] * len(PROMPTS))
    slots, kept = used.scheduler.board.slots, []
    take = slots.take
    slots.take = lambda *asked: kept.append(found := take(*asked)) or found
    longer = [[*prompt, 33, 34] for prompt in (PROMPTS[2], PROMPTS[4])]
    fresh = [answers(TorchEngine(*load("llama")), [prompt], [wanted])[0] for prompt in longer]
    assert answers(used, longer, [wanted] * 2) == fresh
    assert [count for _, count in kept] == [len(PROMPTS[2]), len(PROMPTS[4])]


def test_requests_wait_where_the_memory_for_their_keys_and_values_is_used_up(
    load: Callable[[str], tuple[Any, Any]],
) -> None:
    from hone.engines.torch import TorchEngine

    narrow = TorchEngine(*load("llama"), memory=1)
    most: list[int] = []
    tick = narrow.scheduler.board.tick
    narrow.scheduler.board.tick = lambda *parts: (most.append(len(parts[0]) + len(parts[1])), tick(*parts))[1]
    wanted = [greedy(max_new_tokens=9)] * len(PROMPTS)
    assert [len(ids) for ids in answers(narrow, PROMPTS, wanted)] == [9] * len(PROMPTS)
    assert max(most) == 1


def test_draws_depend_on_the_seed_and_not_on_the_company(engine: Any) -> None:
    drawn = Settings(seed=4, top_k=0, top_p=1.0, max_new_tokens=12)
    alone = [answers(engine, [prompt], [drawn])[0] for prompt in PROMPTS]
    assert answers(engine, PROMPTS, [drawn] * len(PROMPTS)) == alone


def test_a_cancelled_request_leaves_and_the_others_go_on(engine: Any) -> None:
    import time

    long = greedy(max_new_tokens=450)
    left, kept = engine.generate(PROMPT, long), engine.generate([9, 8], greedy(max_new_tokens=30))
    next(left)
    left.close()
    assert len(list(kept)) == 30
    deadline = time.monotonic() + 5
    while engine.scheduler.load and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.scheduler.load == 0


def test_a_full_queue_is_refused_at_once(load: Callable[[str], tuple[Any, Any]]) -> None:
    from hone.engines.torch import TorchEngine

    small = TorchEngine(*load("llama"), slots=1, queue=1)
    asked = [small.generate(PROMPT, greedy(max_new_tokens=300)) for _ in range(2)]
    with pytest.raises(QueueFullError):
        small.generate(PROMPT, greedy(max_new_tokens=3))
    assert [len(list(pieces)) for pieces in asked] == [300, 300]


def test_who_came_first_is_answered_first(load: Callable[[str], tuple[Any, Any]]) -> None:
    from hone.engines.torch import TorchEngine

    one_by_one = TorchEngine(*load("llama"), slots=1, queue=8)
    order, told = [], threading.Semaphore(0)

    def receiver(place: int) -> Callable[[Any], None]:
        def take(piece: Any) -> None:
            if piece.finish:
                order.append(place)
                told.release()

        return take

    for place in range(8):
        one_by_one.submit([5, 17, place + 7], greedy(max_new_tokens=4), receiver(place))
    assert all(told.acquire(timeout=30) for _ in range(8))
    assert order == list(range(8))


def test_a_short_request_is_not_kept_by_a_long_prompt(engine: Any) -> None:
    order: list[str] = []
    names = {"long": list(range(3, 500)), "short": [9, 8]}
    done = threading.Barrier(3, timeout=30)

    def receiver(name: str) -> Callable[[Any], None]:
        def take(piece: Any) -> None:
            order.append(name)
            if piece.finish:
                threading.Thread(target=done.wait).start()

        return take

    for name, prompt in names.items():
        engine.submit(prompt, greedy(max_new_tokens=3), receiver(name))
    done.wait()
    assert order[:3] == ["short"] * 3


def test_a_stop_text_ends_the_answer_and_is_never_shown(engine: Any) -> None:
    drawn = Settings(seed=3, top_k=0, top_p=1.0, max_new_tokens=60)
    text = "".join(piece.text for piece in engine.generate(PROMPT, drawn))
    word = text[20:24]
    pieces = list(engine.generate(PROMPT, replace(drawn, stop=("never said", word))))
    assert "".join(piece.text for piece in pieces) == text[: text.index(word)]
    assert pieces[-1].finish == "stop"


def test_log_probabilities_are_the_models_own(engine: Any) -> None:
    import torch

    pieces = list(engine.generate(PROMPT, greedy(max_new_tokens=3, logprobs=4)))
    with torch.inference_mode():
        shares = engine.model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    odds = pieces[0].odds[0]
    assert odds.logprob == pytest.approx(float(shares.max()), abs=1e-4)
    assert [token for token, _ in odds.likeliest] == shares.topk(4).indices.tolist()
    assert [len(piece.odds) for piece in pieces] == [1, 1, 1]
