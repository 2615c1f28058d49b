"""Folders answered by vLLM: transformers' own greedy ids, many at once as each alone, ends, schemas, adapters."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hone.engines.base import Piece, PromptTooLongError, QueueFullError, Settings, UnknownAdapterError

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None,
        reason="vllm is not installed: it asks for one version of torch (an environment of its own)",
    ),
    pytest.mark.slow,
]

PROMPTS = [[5, 17, 250, 300, 41, 7, 99], [9, 8], list(range(3, 90)), [44] * 30, list(range(100, 300, 2))]
PROMPT = PROMPTS[0]
KEYS = {"infer_backend": "vllm", "infer_dtype": "float32", "template": "chatml", "vllm_enforce_eager": True}


def opened(folder: Path, *, slots: int = 4, queue: int = 4, **keys: Any) -> Any:
    from hone.recipe import settle
    from hone.runs.session import open_session

    recipe = settle(KEYS | {"model_name_or_path": str(folder), "vllm_gpu_util": 0.1} | keys, verb="api")
    return open_session(recipe, slots=slots, queue=queue, by_name=True)


@pytest.fixture(scope="module")
def folder(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with heads as wide as vLLM's attention for processors has them."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    place = tmp_path_factory.mktemp("wide")
    config = LlamaConfig.from_pretrained(
        tiny_model("llama"), hidden_size=128, head_dim=32, num_attention_heads=4, num_key_value_heads=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(place)
    AutoTokenizer.from_pretrained(tiny_model("llama")).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """With numbers that change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    found = {}
    for name, rank, targets in (("one", 4, ["q_proj", "v_proj"]), ("two", 8, "all-linear"), ("head", 4, ["lm_head"])):
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tuned = get_peft_model(
            base,
            LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=32, target_modules=targets, use_rslora=name == "two"),
        )
        torch.manual_seed(rank)
        for key, weight in tuned.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.2)
        found[name] = tmp_path_factory.mktemp(name)
        tuned.save_pretrained(found[name], save_embedding_layers=False)
    return found


@pytest.fixture(scope="module")
def session(folder: Path, adapters: dict[str, Path]) -> Iterator[Any]:
    named = ",".join(f"{name}={adapters[name]}" for name in ("one", "two"))
    session = opened(folder, adapter_name_or_path=named)
    yield session
    session.engine.close()


@pytest.fixture(scope="module")
def engine(session: Any) -> Any:
    return session.engine


def greedy(**changes: Any) -> Settings:
    return Settings(do_sample=False, **changes)


def ids_of(pieces: list[Piece]) -> list[int]:
    return [token for piece in pieces for token in piece.ids]


def answers(engine: Any, prompts: list[list[int]], settings: list[Settings]) -> list[list[int]]:
    """All asked at once."""
    asked = [engine.generate(prompt, one) for prompt, one in zip(prompts, settings, strict=True)]
    return [ids_of(list(pieces)) for pieces in asked]


def transformers_own(folder: Path, prompts: list[list[int]], length: int, adapter: Path | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model = model if adapter is None else PeftModel.from_pretrained(model, adapter).eval()
    options = {"max_new_tokens": length, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with torch.inference_mode():
        return [
            model.generate(input_ids=torch.tensor([one]), attention_mask=torch.ones(1, len(one)), **options)[
                0, len(one) :
            ].tolist()
            for one in prompts
        ]


def test_greedy_answers_are_transformers_own_alone_and_together(engine: Any, folder: Path) -> None:
    expected = transformers_own(folder, PROMPTS, 40)
    wanted = [greedy(max_new_tokens=40)] * len(PROMPTS)
    assert answers(engine, PROMPTS, wanted) == expected
    assert [answers(engine, [prompt], [wanted[0]])[0] for prompt in PROMPTS] == expected


def test_adapters_share_a_batch_and_answer_as_peft_does(engine: Any, folder: Path, adapters: dict[str, Path]) -> None:
    voices = [None, "one", "two"]
    expected = [transformers_own(folder, [PROMPT], 30, adapters.get(str(name)))[0] for name in voices]
    assert len({tuple(ids) for ids in expected}) == 3
    wanted = [greedy(max_new_tokens=30, adapter=name) for name in voices]
    assert answers(engine, [PROMPT] * 3, wanted) == expected
    assert [answers(engine, [PROMPT], [one])[0] for one in wanted] == expected


@pytest.mark.parametrize("name", [None, "one", "two"])
def test_the_odds_of_a_prompt_are_those_of_the_adapter(
    engine: Any, folder: Path, adapters: dict[str, Path], name: str | None
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model = model if name is None else PeftModel.from_pretrained(model, adapters[name]).eval()
    with torch.inference_mode():
        shares = model(torch.tensor([PROMPTS[2]])).logits[0].log_softmax(-1)
    beside = engine.generate(PROMPT, greedy(max_new_tokens=60, adapter="one"))
    told = engine.prompt_odds(PROMPTS[2], 2, name).result(60)
    beside.close()
    own = [float(shares[place, token]) for place, token in enumerate(PROMPTS[2][1:])]
    assert [one.logprob for one in told] == pytest.approx(own, abs=1e-4)


def test_adapters_come_and_go(session: Any, folder: Path, adapters: dict[str, Path]) -> None:
    session.load_adapter("three", adapters["two"])
    third = answers(session.engine, [PROMPT], [greedy(max_new_tokens=9, adapter="three")])
    assert third == answers(session.engine, [PROMPT], [greedy(max_new_tokens=9, adapter="two")])
    session.unload_adapter("three")
    with pytest.raises(UnknownAdapterError):
        session.engine.generate(PROMPT, greedy(adapter="three"))


def test_adapters_that_are_more_or_larger_are_refused(session: Any, adapters: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from hone.errors import ModelError

    def changed(**changes: Any) -> Path:
        place = tmp_path / "-".join(changes)
        shutil.copytree(adapters["one"], place)
        config = json.loads((place / "adapter_config.json").read_text())
        (place / "adapter_config.json").write_text(json.dumps(config | changes))
        return place

    with pytest.raises(ModelError, match="more than LoRA"):
        session.load_adapter("bad", changed(use_dora=True))
    with pytest.raises(ModelError, match=r"rank 64.*room for 32"):
        session.load_adapter("bad", changed(rank_pattern={"nothing": 64}))
    with pytest.raises(ModelError, match="changes lm_head"):
        session.load_adapter("bad", adapters["head"])
    assert "bad" not in session.engine.adapters.names


def test_an_answer_ends_with_our_stop_ids_and_with_no_other(engine: Any, folder: Path) -> None:
    (own,) = transformers_own(folder, [PROMPT], 30)
    pieces = list(engine.generate(PROMPT, greedy(max_new_tokens=30, stop_ids=(own[12],))))
    until = own.index(own[12]) + 1
    assert ids_of(pieces) == own[:until] and [piece.finish for piece in pieces] == [None] * (until - 1) + ["stop"]
    cut = list(engine.generate(PROMPT, greedy(max_new_tokens=5)))
    assert (ids_of(cut), cut[-1].finish) == (own[:5], "length")


def test_stop_texts_are_not_shown_and_the_text_is_that_of_the_ids(engine: Any) -> None:
    whole = list(engine.generate(PROMPT, greedy(max_new_tokens=40)))
    text = "".join(piece.text for piece in whole)
    assert text == engine.tokenizer.decode(ids_of(whole), skip_special_tokens=True)
    word = text[len(text) // 2 :][:3]
    stopped = list(engine.generate(PROMPT, greedy(max_new_tokens=40, stop=(word,))))
    assert "".join(piece.text for piece in stopped) == text[: text.index(word)] and stopped[-1].finish == "stop"


def test_draws_depend_on_the_seed_and_not_on_the_company(engine: Any) -> None:
    drawn = Settings(seed=4, top_k=0, top_p=1.0, max_new_tokens=12)
    alone = [answers(engine, [prompt], [drawn])[0] for prompt in PROMPTS]
    assert answers(engine, PROMPTS, [drawn] * len(PROMPTS)) == alone
    assert answers(engine, [PROMPT], [replace(drawn, seed=5)])[0] != alone[0]


def test_penalties_biases_and_min_p_do_what_the_built_in_sampler_does(engine: Any, folder: Path) -> None:
    """Greedy with penalties is decided: the built-in engine is the judge."""
    import torch
    from transformers import AutoModelForCausalLM

    from hone.engines.torch import TorchEngine

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    judge = TorchEngine(model, engine.tokenizer)
    for changes in (
        {"repetition_penalty": 1.3}, {"presence_penalty": 1.5}, {"frequency_penalty": 0.7},
        {"logit_bias": ((77, 5.0), (300, -100.0))}, {"repetition_penalty": 1.2, "frequency_penalty": 0.5},
    ):  # fmt: skip
        wanted = [greedy(max_new_tokens=30, **changes)] * len(PROMPTS)
        assert answers(engine, PROMPTS, wanted) == answers(judge, PROMPTS, wanted), changes
    surely = Settings(seed=1, min_p=1.0, top_k=0, top_p=1.0, temperature=1.0, max_new_tokens=12)
    assert answers(engine, [PROMPT], [surely]) == answers(judge, [PROMPT], [greedy(max_new_tokens=12)])


def test_log_probabilities_and_those_of_the_prompt_are_the_models_own(engine: Any, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        shares = model(torch.tensor([PROMPTS[2]])).logits[0].log_softmax(-1)
    wanted = Settings(seed=3, temperature=2.0, top_k=0, top_p=1.0, max_new_tokens=3, logprobs=4, presence_penalty=1.0)
    odds = next(iter(engine.generate(PROMPTS[2], wanted))).odds[0]
    assert odds.logprob == pytest.approx(float(shares[-1][odds.id]), abs=1e-4)
    assert [token for token, _ in odds.likeliest] == shares[-1].topk(4).indices.tolist()
    told = engine.prompt_odds(PROMPTS[2], 2).result(60)
    own = [float(shares[place, token]) for place, token in enumerate(PROMPTS[2][1:])]
    assert [one.id for one in told] == PROMPTS[2][1:]
    assert [one.logprob for one in told] == pytest.approx(own, abs=1e-4)
    assert all(len(one.likeliest) == 2 for one in told)


def test_an_answer_can_be_held_to_a_schema_also_behind_a_thought(engine: Any) -> None:
    from hone.engines.grammar import grammar_of_calls, grammar_of_schema

    schema = {"type": "object", "properties": {"n": {"enum": [7, 8]}}, "required": ["n"], "additionalProperties": False}
    held = Settings(seed=1, max_new_tokens=200, grammar=grammar_of_schema(schema))
    pieces = list(engine.generate(PROMPT, held))
    assert json.loads("".join(piece.text for piece in pieces))["n"] in (7, 8) and pieces[-1].finish == "stop"
    call = grammar_of_calls([("<call>", schema, "</call>")])
    said = "".join(piece.text for piece in engine.generate(PROMPT, replace(held, grammar=call)))
    assert json.loads(said.removeprefix("<call>").removesuffix("</call>"))["n"] in (7, 8)
    own = list(engine.generate(PROMPT, greedy(max_new_tokens=30)))[20]
    word = engine.tokenizer.decode(own.ids)
    _, found, after = "".join(
        piece.text for piece in engine.generate(PROMPT, replace(held, do_sample=False, grammar_after=word))
    ).partition(word)
    assert found and json.loads(after)["n"] in (7, 8)


def test_a_schema_that_vllm_does_not_take_is_the_request_s_own_fault(engine: Any) -> None:
    from hone.engines.grammar import grammar_of_schema
    from hone.errors import RecipeError

    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(70):
        schema = {"type": "array", "items": schema}
    with pytest.raises(RecipeError, match="vLLM does not take this request"):
        list(engine.generate(PROMPT, greedy(max_new_tokens=9, grammar=grammar_of_schema(schema))))
    assert len(list(engine.generate(PROMPT, greedy(max_new_tokens=3)))) == 3


def test_a_cancelled_request_leaves_and_the_others_go_on(engine: Any) -> None:
    left, kept = engine.generate(PROMPT, greedy(max_new_tokens=450)), engine.generate([9, 8], greedy(max_new_tokens=30))
    next(left)
    left.close()
    assert len(list(kept)) == 30
    own = engine.thread.made
    deadline = time.monotonic() + 30
    while (engine.scheduler.load or own.get_num_unfinished_requests()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.scheduler.now == {"requests_running": 0, "requests_reading": 0, "requests_waiting": 0}
    assert own.get_num_unfinished_requests() == 0


def test_a_full_queue_and_a_long_prompt_are_refused_at_once(engine: Any) -> None:
    asked = [engine.generate(PROMPT, greedy(max_new_tokens=100)) for _ in range(8)]
    with pytest.raises(QueueFullError):
        engine.generate(PROMPT, greedy(max_new_tokens=3))
    assert [len(list(pieces)) for pieces in asked] == [100] * 8
    assert len(list(engine.generate(PROMPT, greedy(max_new_tokens=3)))) == 3
    with pytest.raises(PromptTooLongError, match="512"):
        engine.generate(PROMPT, greedy(max_new_tokens=510))


def test_a_model_that_vllm_starts_with_and_cannot_compute_is_refused_at_the_start(
    tiny_model: Callable[[str], Path],
) -> None:
    from hone.engines.vllm.library import library
    from hone.errors import ModelError

    if library().device != "cpu":
        pytest.skip("vLLM's attention for cards has narrow heads too")
    with pytest.raises(ModelError, match="loads and does not compute"):
        opened(tiny_model("llama"))


def test_an_engine_that_dies_or_is_ended_is_a_sentence(folder: Path) -> None:
    """Its processes are killed while it writes; whoever asks afterwards is told too, and nobody waits for ever."""
    import psutil

    from hone.errors import MachineError

    before = {one.pid for one in psutil.Process().children(recursive=True)}
    engine = opened(folder).engine
    pieces = engine.generate(PROMPT, greedy(max_new_tokens=450))
    next(pieces)
    assert engine.alive
    for one in psutil.Process().children(recursive=True):
        if one.pid not in before:
            one.kill()
    with pytest.raises(MachineError, match="could not go on"):
        list(pieces)
    with pytest.raises(MachineError, match="could not go on"):
        list(engine.generate(PROMPT, greedy(max_new_tokens=3)))
    assert not engine.alive
    engine.close()
    with pytest.raises(MachineError, match="was ended"):
        engine.generate(PROMPT, greedy(max_new_tokens=3))
