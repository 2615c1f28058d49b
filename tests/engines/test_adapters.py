"""Several adapters in one batch: each request as if it were alone with its own, whoever else is answered."""

from __future__ import annotations

import functools
import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hone.engines.base import Piece, Settings, UnknownAdapterError
from hone.errors import ModelError
from hone.recipe import ModelSection

PROMPTS = [[5, 17, 250, 300, 41, 7, 99], [9, 8], list(range(3, 90)), [44] * 30, list(range(100, 300, 2)), [9, 8, 7]]
SECTION = ModelSection()
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def adapter(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A random adapter of a tiny model, as PEFT writes it."""

    def make(family: str, seed: int, **changes: Any) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model

        folder = tmp_path_factory.mktemp(f"{family}-{seed}")
        options: dict[str, Any] = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "init_lora_weights": False}
        options |= {"task_type": "CAUSAL_LM", **changes}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            get_peft_model(load(tiny_model, family)[0], LoraConfig(**options)).save_pretrained(
                folder, save_embedding_layers=False
            )
        return folder

    return make


def load(tiny_model: Callable[[str], Path], family: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_model(family)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def greedy(length: int, adapter: str | None = None) -> Settings:
    return Settings(do_sample=False, max_new_tokens=length, adapter=adapter)


def ids_of(pieces: list[Piece]) -> list[int]:
    return [token for piece in pieces for token in piece.ids]


@functools.cache
def by_peft(tiny_model: Any, family: str, folder: Path | None) -> Any:
    from peft import PeftModel

    model = load(tiny_model, family)[0]
    return model if folder is None else PeftModel.from_pretrained(model, str(folder)).eval()


def alone(tiny_model: Any, family: str, folder: Path | None, prompt: list[int], length: int) -> list[int]:
    """What transformers and PEFT say, one request, one adapter."""
    import torch

    model = by_peft(tiny_model, family, folder)
    options = {"max_new_tokens": length, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return model.generate(input_ids=torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()


def serving(tiny_model: Any, family: str, folders: dict[str, Path], **options: Any) -> Any:
    from hone.engines.torch import TorchEngine

    engine = TorchEngine(*load(tiny_model, family), **options)
    for name, folder in folders.items():
        engine.adapters.load(name, folder, SECTION)
    return engine


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3", "phi3"])
def test_each_request_is_answered_as_alone_with_its_adapter(tiny_model: Any, adapter: Make, family: str) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"r": 2, "use_rslora": True},
        {"target_modules": r".*(o_proj|down_proj|lm_head)"},
    ]
    folders = {f"a{seed}": adapter(family, seed, **kind) for seed, kind in enumerate(kinds)}
    names = ["a0", None, "a1", "a2", "a0", "a1"]
    lengths = [40, 5, 20, 15, 8, 12]
    rows = list(zip(PROMPTS, names, lengths, strict=True))
    expected = [alone(tiny_model, family, folders.get(name or ""), prompt, n) for prompt, name, n in rows]
    engine = serving(tiny_model, family, folders, slots=4)
    asked = [engine.generate(prompt, greedy(n, name)) for prompt, name, n in rows]
    assert [ids_of(list(pieces)) for pieces in asked] == expected
    assert (type(engine.scheduler.board).__name__ == "QuickBoard") is (family != "gemma3")
    assert getattr(engine.scheduler.board, "together", True)
    with_none = [alone(tiny_model, family, None, prompt, n) for prompt, _, n in rows]
    assert [a == b for a, b in zip(expected, with_none, strict=True)] == [False, True, False, False, False, False]


def test_patterns_of_ranks_and_scales_are_honoured(tiny_model: Any, adapter: Make) -> None:
    folder = adapter("llama", 7, rank_pattern={"q_proj": 2, "down_proj": 6}, alpha_pattern={"k_proj": 1, "q_proj": 9})
    engine = serving(tiny_model, "llama", {"own": folder})
    expected = alone(tiny_model, "llama", folder, PROMPTS[0], 30)
    assert ids_of(list(engine.generate(PROMPTS[0], greedy(30, "own")))) == expected


def test_what_one_adapter_has_read_is_not_taken_for_another(tiny_model: Any, adapter: Make) -> None:
    folders = {name: adapter("llama", seed) for seed, name in enumerate(("one", "two"))}
    engine = serving(tiny_model, "llama", folders)
    slots, kept = engine.scheduler.board.slots, []
    take = slots.take
    slots.take = lambda *asked: kept.append(found := take(*asked)) or found
    prompt = PROMPTS[2]
    for name in ("one", "one", "two", None):
        expected = alone(tiny_model, "llama", folders.get(name or ""), prompt, 20)
        assert ids_of(list(engine.generate(prompt, greedy(20, name)))) == expected
    engine.adapters.load("one", folders["two"], SECTION)
    assert ids_of(list(engine.generate(prompt, greedy(20, "one")))) == alone(
        tiny_model, "llama", folders["two"], prompt, 20
    )
    assert [count for _, count in kept] == [0, len(prompt) - 1, 0, 0, 0]


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_who_is_being_answered_keeps_an_adapter_that_is_taken_away(tiny_model: Any, adapter: Make, family: str) -> None:
    import torch

    from hone.models.native import decoding

    folder = adapter(family, 0)
    engine = serving(tiny_model, family, {"gone": folder, "other": adapter(family, 1)})
    gone = weakref.ref(engine.adapters.named("gone"))
    under_way = engine.generate(PROMPTS[0], greedy(60, "gone"))
    beside = engine.generate(PROMPTS[1], greedy(60, "other"))
    first = next(under_way)
    engine.adapters.unload("gone")
    with pytest.raises(UnknownAdapterError, match="gone"):
        engine.generate(PROMPTS[0], greedy(3, "gone"))
    found = ids_of([first, *under_way])
    assert found == alone(tiny_model, family, folder, PROMPTS[0], 60)
    assert len(ids_of(list(beside))) == 60
    decoder = getattr(engine.scheduler.board, "decoder", None)
    laid = [weakref.ref(decoder.adapters[1])] if decoder is not None and decoder.adapters is not None else []
    assert bool(laid) == (family == "llama" and decoding.available(torch.float32)), "machine code has its own copy"
    del under_way
    list(engine.generate(PROMPTS[0], greedy(2)))
    gc.collect()
    assert gone() is None
    assert all(one() is None for one in laid)
    assert engine.adapters.names == ("other",)


def test_readings_of_a_text_are_made_with_the_adapter_that_is_named(tiny_model: Any, adapter: Make) -> None:
    import torch

    from hone.engines.readings import prompt_odds

    folder = adapter("llama", 3)
    engine = serving(tiny_model, "llama", {"own": folder})
    ids = PROMPTS[0]
    model = by_peft(tiny_model, "llama", folder)
    with torch.inference_mode():
        shares = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(shares[place, token]) for place, token in enumerate(ids[1:])]
    told = engine.aside(lambda: prompt_odds(engine.model, ids, 1), "own").result()
    assert [one.logprob for one in told] == pytest.approx(expected, abs=1e-4)
    plain = engine.aside(lambda: prompt_odds(engine.model, ids, 1)).result()
    assert [one.logprob for one in plain] != pytest.approx(expected, abs=1e-2)


def test_draws_with_an_adapter_depend_on_the_seed_and_not_on_the_company(tiny_model: Any, adapter: Make) -> None:
    engine = serving(tiny_model, "llama", {f"a{seed}": adapter("llama", seed) for seed in range(2)})
    drawn = Settings(seed=4, top_k=0, top_p=1.0, max_new_tokens=12)
    wanted = [replace(drawn, adapter=name) for name in ("a0", "a1", None, "a0", "a1", None)]
    apart = [ids_of(list(engine.generate(p, one))) for p, one in zip(PROMPTS, wanted, strict=True)]
    asked = [engine.generate(p, one) for p, one in zip(PROMPTS, wanted, strict=True)]
    assert [ids_of(list(pieces)) for pieces in asked] == apart


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_dora": True}, "magnitude|use_dora"),
        ({"modules_to_save": ["lm_head"], "target_modules": ["q_proj"]}, "modules_to_save"),
        ({"target_modules": ["embed_tokens"]}, "embedding"),
        ({"lora_bias": True}, "lora_bias|lora_B.bias has shape"),
    ],
)
def test_an_adapter_that_is_more_than_factors_is_refused(
    tiny_model: Any, adapter: Make, changes: dict[str, Any], said: str
) -> None:
    engine = serving(tiny_model, "llama", {})
    with pytest.raises(ModelError, match=said):
        engine.adapters.load("odd", adapter("llama", 5, **changes), SECTION)
    assert engine.adapters.names == ()


@pytest.mark.parametrize(
    ("key", "value"), [("alora_invocation_tokens", [3]), ("init_lora_weights", "pissa"), ("some_new_way", {"a": 1})]
)
def test_what_is_said_in_the_config_and_not_known_is_refused(
    tiny_model: Any, adapter: Make, key: str, value: Any
) -> None:
    folder = adapter("llama", 5)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ModelError, match=key):
        serving(tiny_model, "llama", {"odd": folder})


def test_an_adapter_of_another_model_is_refused_and_the_engine_goes_on(tiny_model: Any, adapter: Make) -> None:
    engine = serving(tiny_model, "llama", {})
    with pytest.raises(ModelError, match=r"no place in this model|has shape"):
        engine.adapters.load("other", adapter("phi3", 0), SECTION)
    assert len(ids_of(list(engine.generate(PROMPTS[0], greedy(3))))) == 3
