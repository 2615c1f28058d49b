"""What vLLM's engine is started with: the recipe's keys in its words, with `vllm_config` over all."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.errors import RecipeError
from hone.recipe.schema import EngineSection

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Adapter ranks that vLLM makes room for."""
MOST_LOGPROBS = 20
ON_A_PROCESSOR = 4 * 2**30
"""Bytes for keys and values at most, where nothing says how many: a processor's memory is everybody's."""


@dataclass(frozen=True)
class Start:
    """What is known when the engine is started. `adapters`: how many are to be answered with, 0 for none; `targets`:
    the last names of the layers that they may sit beside.

    `cards`: on how many the model lies; `free`: bytes of main memory where it lies there, None on cards.
    """

    folder: Path
    dtype: str
    context: int
    slots: int
    adapters: int = 0
    targets: tuple[str, ...] = ()
    cards: int = 1
    free: int | None = None
    trust_code: bool = False


def engine_arguments(engine: EngineSection, start: Start, given: Collection[str]) -> dict[str, Any]:
    """Arguments of `AsyncEngineArgs`. `given`: the recipe's keys that the user wrote down."""
    words: dict[str, Any] = {
        "model": str(start.folder),
        "dtype": start.dtype,
        "max_model_len": start.context,
        "max_num_seqs": start.slots,
        "gpu_memory_utilization": engine.vllm_gpu_util,
        "enforce_eager": engine.vllm_enforce_eager,
        "tensor_parallel_size": start.cards,
        "trust_remote_code": start.trust_code,
        "load_format": "safetensors",
        "generation_config": "vllm",
        "max_logprobs": MOST_LOGPROBS,
        "structured_outputs_config": {"backend": "guidance"},
        "limit_mm_per_prompt": {"image": 0, "video": 0, "audio": 0},
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if start.adapters:
        neutral = start.free is not None  # on a processor there is one more, see `hone.engines.vllm.neutral`
        rank = _room(engine.vllm_max_lora_rank)
        words |= {"enable_lora": True, "max_loras": start.adapters + neutral, "max_lora_rank": rank}
        words["lora_target_modules"] = list(start.targets)
    if start.free is not None and "vllm_gpu_util" not in given and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        words["kv_cache_memory_bytes"] = min(start.free // 4, ON_A_PROCESSOR)
    return words | dict(engine.vllm_config or {})


def check_names(config: Mapping[str, Any] | None, known: Collection[str]) -> None:
    """Raises RecipeError for names in `vllm_config` that the installed vLLM does not know."""
    unknown = sorted(set(config or {}) - set(known))
    if unknown:
        what = f"the installed vLLM has no engine argument {', '.join(unknown)}"
        raise RecipeError.one("VLLM-CONFIG", what, "vllm_config", "see `vllm serve --help` for those that it has")


def _room(rank: int) -> int:
    """The least of vLLM's ranks that holds it. Raises RecipeError."""
    found = next((one for one in RANKS if one >= rank), None)
    if found is None:
        raise RecipeError.one("VLLM-RANK", f"vLLM holds ranks up to {RANKS[-1]}", "vllm_max_lora_rank", "lower it")
    return found
