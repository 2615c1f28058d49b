"""What vLLM is told: the recipe's keys, a request's settings and grammars in its words. Without vLLM itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hone.engines.base import Settings
from hone.engines.grammar import grammar_of_calls, grammar_of_schema
from hone.engines.vllm.arguments import Start, check_names, engine_arguments
from hone.engines.vllm.asked import asked, check_asked, held_to
from hone.errors import RecipeError
from hone.recipe import settle


def started(start: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    recipe = settle({"model_name_or_path": "m", "infer_backend": "vllm", **keys}, verb="api")
    known = {"folder": Path("m"), "dtype": "float32", "context": 2048, "slots": 4, **(start or {})}
    return engine_arguments(recipe.engine, Start(**known), recipe.given)


def test_the_recipe_s_keys_are_vllm_s_arguments() -> None:
    found = started(vllm_gpu_util=0.4, vllm_enforce_eager=True)
    wanted = {"model": "m", "dtype": "float32", "max_model_len": 2048, "max_num_seqs": 4}
    wanted |= {"gpu_memory_utilization": 0.4, "enforce_eager": True, "load_format": "safetensors"}
    assert {name: found[name] for name in wanted} == wanted
    assert "enable_lora" not in found and "kv_cache_memory_bytes" not in found


def test_adapters_get_room_of_a_rank_that_vllm_has() -> None:
    found = started({"adapters": 3, "targets": ("q_proj",)}, vllm_max_lora_rank=20)
    assert found["lora_target_modules"] == ["q_proj"]
    assert (found["enable_lora"], found["max_loras"], found["max_lora_rank"]) == (True, 3, 32)
    assert started({"adapters": 1})["max_lora_rank"] == 32
    assert started({"adapters": 3, "free": 2**30})["max_loras"] == 4
    with pytest.raises(RecipeError, match="ranks up to 512"):
        started({"adapters": 1}, vllm_max_lora_rank=1000)


def test_a_processor_s_memory_is_not_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    on_processor = {"free": 8 * 2**30}
    assert started(on_processor)["kv_cache_memory_bytes"] == 2 * 2**30
    assert "kv_cache_memory_bytes" not in started(on_processor, vllm_gpu_util=0.5)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "3")
    assert "kv_cache_memory_bytes" not in started(on_processor)


def test_vllm_config_stands_over_all_and_unknown_names_are_refused() -> None:
    found = started(vllm_config={"max_num_seqs": 9, "swap_space": 1})
    assert (found["max_num_seqs"], found["swap_space"]) == (9, 1)
    check_names({"max_num_seqs": 9}, {"max_num_seqs"})
    with pytest.raises(RecipeError, match="no engine argument swap_space"):
        check_names(found, set(found) - {"swap_space"})


def words_of(settings: Settings, **more: Any) -> dict[str, Any]:
    return asked(settings, **{"room": 7, "stops": (5, 3), "held": False, **more})


def test_draws_are_asked_for_as_the_settings_say() -> None:
    drawn = Settings(
        temperature=0.8, top_p=0.9, top_k=-1, min_p=0.05, seed=-1, repetition_penalty=1.2, presence_penalty=0.3,
        frequency_penalty=-0.4, logit_bias=((4, 2.0),), logprobs=2,
    )  # fmt: skip
    assert words_of(drawn) == {
        "max_tokens": 7, "temperature": 0.8, "top_p": 0.9, "top_k": 0, "min_p": 0.05, "seed": 2**63 - 1,
        "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": -0.4, "logit_bias": {4: 2.0},
        "stop_token_ids": [3, 5], "ignore_eos": True, "logprobs": 2, "detokenize": False,
    }  # fmt: skip


@pytest.mark.parametrize("greedy", [Settings(do_sample=False, top_k=50), Settings(temperature=0.0, min_p=0.5)])
def test_the_likeliest_token_is_asked_for_without_a_nucleus(greedy: Settings) -> None:
    found = words_of(greedy)
    assert [found[name] for name in ("temperature", "top_p", "top_k", "min_p")] == [0.0, 1.0, 0, 0.0]


def test_schemas_and_calls_are_grammars_that_vllm_reads() -> None:
    schema = {"type": "object", "properties": {"n": {"enum": ["start: ::= x", 8]}}}
    held = held_to(grammar_of_schema(schema))
    assert set(held) == {"json"} and held["json"]["properties"] == schema["properties"]
    assert held["json"]["x-guidance"]["whitespace_flexible"] is False
    calls = grammar_of_calls([("<call>", {"type": "object"}, "</call>")])
    assert held_to(calls) == {"grammar": calls} and calls.startswith("start:")
    assert words_of(Settings(grammar=calls), held=True)["structured_outputs"] == {"grammar": calls}
    assert "structured_outputs" not in words_of(Settings(grammar=calls, grammar_after="</think>"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(temperature=0.001), "temperatures from 0.01 to 2, not 0.001"),
        (Settings(temperature=2.5), "temperatures from 0.01 to 2, not 2.5"),
        (Settings(grammar="start: x", grammar_after="</think>", presence_penalty=1), "behind a thought"),
    ],
)
def test_what_vllm_would_answer_otherwise_is_refused(settings: Settings, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check_asked(settings)


def test_cold_and_certain_answers_are_not_refused() -> None:
    check_asked(Settings(temperature=0.0))
    check_asked(Settings(temperature=5.0, do_sample=False))
