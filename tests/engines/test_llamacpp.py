"""GGUF files answered by llama.cpp: transformers' own greedy ids, many at once as each alone, and all draws."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hone.engines.base import Piece, PromptTooLongError, QueueFullError, Settings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="llama-cpp-python is not installed: it is compiled for minutes (make llamacpp)",
)

PROMPTS = [[5, 17, 250, 300, 41, 7, 99], [9, 8], list(range(3, 90)), [44] * 30, list(range(100, 300, 2))]
PROMPT = PROMPTS[0]


@pytest.fixture(scope="module")
def written(tiny_model: Callable[[str], Path], as_gguf: Callable[[Path], Path]) -> Callable[[str], Path]:
    """`written("qwen3")`: the tiny model of that family as a GGUF file in float32."""
    return lambda family: as_gguf(tiny_model(family))


@pytest.fixture(scope="module")
def opened(written: Callable[[str], Path]) -> Callable[..., Any]:
    def start(family: str = "llama", **options: Any) -> Any:
        from hone.engines.llamacpp.engine import LlamaEngine
        from hone.models.gguf import load_gguf_tokenizer

        return LlamaEngine(
            written(family), load_gguf_tokenizer(written(family)), **{"numbers": "float32", "cells": 4096, **options}
        )

    return start


@pytest.fixture(scope="module")
def engine(opened: Callable[..., Any]) -> Any:
    return opened()


def greedy(**changes: Any) -> Settings:
    return Settings(do_sample=False, **changes)


def ids_of(pieces: list[Piece]) -> list[int]:
    return [token for piece in pieces for token in piece.ids]


def answers(engine: Any, prompts: list[list[int]], settings: list[Settings]) -> list[list[int]]:
    """All asked at once."""
    asked = [engine.generate(prompt, one) for prompt, one in zip(prompts, settings, strict=True)]
    return [ids_of(list(pieces)) for pieces in asked]


@pytest.mark.parametrize("family", ["llama", "llama_tied", "qwen2", "qwen3", "phi3"])
def test_greedy_answers_are_transformers_own_whoever_joins_and_leaves(
    opened: Callable[..., Any], tiny_model: Callable[[str], Path], family: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(family), dtype=torch.float32).eval()
    lengths = [70, 5, 40, 90, 12]
    expected = [
        model.generate(
            torch.tensor([prompt]), max_new_tokens=length, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(prompt) :].tolist()
        for prompt, length in zip(PROMPTS, lengths, strict=True)
    ]
    few = opened(family, slots=3)
    wanted = [greedy(max_new_tokens=length) for length in lengths]
    assert answers(few, PROMPTS, wanted) == expected
    assert [answers(few, [prompt], [one])[0] for prompt, one in zip(PROMPTS, wanted, strict=True)] == expected


def test_a_prompt_that_begins_as_another_did_is_not_read_again(opened: Callable[..., Any]) -> None:
    used = opened()
    wanted = greedy(max_new_tokens=20)
    answers(used, PROMPTS, [wanted] * len(PROMPTS))
    read: list[int] = []
    reader = used.board.context.read
    used.board.context.read = lambda ids, *rest: (read.append(len(ids)), reader(ids, *rest))[1]
    longer = [*PROMPTS[2], 33, 34]
    assert answers(used, [longer], [wanted]) == answers(opened(), [longer], [wanted])
    assert read[0] == 2


def test_few_cells_make_requests_wait_and_change_no_answer(opened: Callable[..., Any], engine: Any) -> None:
    wanted = [greedy(max_new_tokens=60)] * len(PROMPTS)
    narrow = opened(cells=256)
    assert narrow.context == 256
    for _ in range(2):
        assert answers(narrow, PROMPTS, wanted) == answers(engine, PROMPTS, wanted)
    with pytest.raises(PromptTooLongError, match="256"):
        narrow.generate(PROMPT, greedy(max_new_tokens=250))


def test_draws_depend_on_the_seed_and_not_on_the_company(engine: Any) -> None:
    drawn = Settings(seed=4, top_k=0, top_p=1.0, max_new_tokens=12)
    alone = [answers(engine, [prompt], [drawn])[0] for prompt in PROMPTS]
    assert answers(engine, PROMPTS, [drawn] * len(PROMPTS)) == alone
    assert answers(engine, [PROMPT], [replace(drawn, seed=5)])[0] != alone[0]


def test_a_cancelled_request_leaves_and_the_others_go_on(engine: Any) -> None:
    left, kept = engine.generate(PROMPT, greedy(max_new_tokens=450)), engine.generate([9, 8], greedy(max_new_tokens=30))
    next(left)
    left.close()
    assert len(list(kept)) == 30
    deadline = time.monotonic() + 30
    while engine.scheduler.load and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.scheduler.load == 0 and len(engine.board.sequences.idle) == len(engine.board.sequences.ids)


def test_a_full_queue_is_refused_at_once(opened: Callable[..., Any]) -> None:
    small = opened(slots=1, queue=1)
    asked = [small.generate(PROMPT, greedy(max_new_tokens=300)) for _ in range(2)]
    with pytest.raises(QueueFullError):
        small.generate(PROMPT, greedy(max_new_tokens=3))
    assert [len(list(pieces)) for pieces in asked] == [300, 300]


def test_a_step_that_fails_is_told_and_the_next_request_is_answered(opened: Callable[..., Any]) -> None:
    from hone.errors import MachineError, RecipeError

    own = opened()
    expected = answers(own, [PROMPT], [greedy(max_new_tokens=9)])
    own.vocabulary, kept = 10**6, own.vocabulary
    with pytest.raises(MachineError, match="could not go on"):
        list(own.generate([5, kept], greedy(max_new_tokens=9)))  # an id that the model does not have
    own.vocabulary = kept
    with pytest.raises(RecipeError, match="ids from 0"):
        own.generate([5, kept], greedy(max_new_tokens=9))
    assert answers(own, [PROMPT], [greedy(max_new_tokens=9)]) == expected


def test_log_probabilities_and_those_of_the_prompt_are_the_models_own(
    engine: Any, tiny_model: Callable[[str], Path]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32).eval()
    with torch.inference_mode():
        shares = model(torch.tensor([PROMPTS[2]])).logits[0].log_softmax(-1)
    odds = next(iter(engine.generate(PROMPTS[2], greedy(max_new_tokens=3, logprobs=4)))).odds[0]
    assert odds.logprob == pytest.approx(float(shares[-1].max()), abs=1e-4)
    assert [token for token, _ in odds.likeliest] == shares[-1].topk(4).indices.tolist()
    told = engine.prompt_odds(PROMPTS[2], 2).result(30)
    assert [one.id for one in told] == PROMPTS[2][1:]
    own = [float(shares[place, token]) for place, token in enumerate(PROMPTS[2][1:])]
    assert [one.logprob for one in told] == pytest.approx(own, abs=1e-4)


def test_an_answer_can_be_held_to_a_schema(engine: Any) -> None:
    import json

    from hone.engines.grammar import grammar_of_schema

    schema = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"], "additionalProperties": False}
    held = Settings(seed=1, max_new_tokens=200, grammar=grammar_of_schema(schema))
    pieces = list(engine.generate(PROMPT, held))
    assert json.loads("".join(piece.text for piece in pieces))["n"] in (7, 8)


def test_a_damaged_file_is_one_sentence(written: Callable[[str], Path], tmp_path: Path) -> None:
    from hone.engines.llamacpp.model import LlamaModel
    from hone.errors import ModelError

    broken = tmp_path / "broken.gguf"
    broken.write_bytes(written("llama").read_bytes()[:50_000])
    with pytest.raises(ModelError, match=r"llama\.cpp does not load this file"):
        LlamaModel(broken)


TEXTS = [
    "Hello, world! It's 12345 o'clock and 3.14 more.",
    "  two spaces,\n\n\tlines and tabs   end ",
    "Äpfel, naïve Ångström; 你好，世界。这是一个句子。 Привет, мир! 日本語のテキスト",
    "🙂 emoji 👩‍👩‍👧 and a flag 🇩🇪",
    "def add(a, b):\n    return a + b  # sum\n",
    "<|im_start|>user\nplain text, no control tokens<|im_end|>",
]


@pytest.fixture(scope="module")
def real(small_model: Path, as_gguf: Callable[[Path], Path]) -> Any:
    """The small real model, exported in float32 and opened."""
    from hone.engines.llamacpp.engine import LlamaEngine
    from hone.models.gguf import load_gguf_tokenizer

    path = as_gguf(small_model)
    return LlamaEngine(path, load_gguf_tokenizer(path), numbers="float32", cells=4096)


@pytest.mark.model
def test_texts_are_cut_into_the_ids_that_llama_cpp_cuts(real: Any, small_model: Path) -> None:
    from transformers import AutoTokenizer

    from hone.dialogue.encoder import Encoder
    from hone.dialogue.slots import piece, said
    from hone.dialogue.template import load_template

    own = AutoTokenizer.from_pretrained(small_model)
    encoder = Encoder(load_template("chatml"), real.tokenizer)
    for text in TEXTS:
        ids = real.board.context.model.ids_of(text)
        assert encoder.ids_of([[piece([said(text)])]])[0].tolist() == ids, text
        assert own.decode(ids) == text


@pytest.mark.model
def test_the_real_model_answers_as_transformers_does_alone_and_together(real: Any, small_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float32).eval()
    asked = ["What is the capital of France?", "Write a poem about geese.", "Count from 1 to 10.", "你是谁？"]
    chat = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    prompts = [real.tokenizer.encode(chat.format(text), add_special_tokens=False) for text in asked]
    options = {"max_new_tokens": 40, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = [
        model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), **options)[0, len(prompt) :]
        for prompt in prompts
    ]
    expected = [ids.tolist() for ids in expected]
    wanted = [greedy(max_new_tokens=40)] * len(prompts)
    assert answers(real, prompts, wanted) == expected
    assert [answers(real, [prompt], [wanted[0]])[0] for prompt in prompts] == expected


@pytest.mark.model
def test_long_texts_of_many_byte_letters_lose_nothing(real: Any) -> None:
    text = "".join(TEXTS[2:4]) * 4
    ids = real.tokenizer.encode(text, add_special_tokens=False)
    bias = tuple((token, 100.0) for token in set(ids))
    drawn = Settings(seed=2, top_k=0, top_p=1.0, temperature=2.0, max_new_tokens=150, logit_bias=bias)
    pieces = list(real.generate(ids, drawn))
    said = ids_of(pieces)
    assert len(said) == 150 and set(said) <= set(ids)
    assert "".join(piece.text for piece in pieces) == real.tokenizer.decode(said, skip_special_tokens=True)
    assert all("�" not in piece.text for piece in pieces[:-1] if piece.text and piece.text in text)
