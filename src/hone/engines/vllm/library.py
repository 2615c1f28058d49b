"""vLLM as it is installed: set up before it is imported, and missed in one sentence."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from typing import Any, NamedTuple

from hone.errors import MachineError

INSTALL = "pip install 'hone-llm[web,vllm]' in an environment of its own (vLLM asks for one version of torch)"
BEFORE = {
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers of every start
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # what is answered goes to the other one
}
"""Variables that vLLM reads when it is imported, unless the user has set them."""
ON_FEW_CORES = {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
"""The same where one of at most FEW cores left idle for its other process would be much."""
FEW = 4


class Library(NamedTuple):
    """What is used of it."""

    engine: Any
    arguments: Any
    sampling: Any
    deltas: Any
    held_to: Any
    adapter: Any
    refused: type[Exception]
    device: str


def check_here() -> None:
    """Whether it is installed, without importing it. Raises MachineError."""
    if importlib.util.find_spec("vllm") is None:
        what = "vllm is not installed, and infer_backend: vllm needs it"
        raise MachineError.one("EXTRA-VLLM", what, "infer_backend", INSTALL)


@cache
def library() -> Library:
    """Its classes, and the device it was built for. Raises MachineError where it cannot be imported."""
    check_here()
    few = ON_FEW_CORES if (os.cpu_count() or 1) <= FEW else {}
    for name, value in (BEFORE | few).items():
        os.environ.setdefault(name, value)
    try:
        from vllm import AsyncEngineArgs, SamplingParams  # type: ignore[import-not-found,unused-ignore]
        from vllm.exceptions import VLLMClientError  # type: ignore[import-not-found,unused-ignore]
        from vllm.lora.request import LoRARequest  # type: ignore[import-not-found,unused-ignore]
        from vllm.platforms import current_platform  # type: ignore[import-not-found,unused-ignore]
        from vllm.sampling_params import (  # type: ignore[import-not-found,unused-ignore]
            RequestOutputKind,
            StructuredOutputsParams,
        )
        from vllm.v1.engine.async_llm import AsyncLLM  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, OSError, RuntimeError, AttributeError) as reason:  # not for this torch, or this machine
        what = f"vLLM cannot be imported ({short(reason)})"
        raise MachineError.one("EXTRA-VLLM", what, "infer_backend", INSTALL) from None
    return Library(
        AsyncLLM,
        AsyncEngineArgs,
        SamplingParams,
        RequestOutputKind.DELTA,
        StructuredOutputsParams,
        LoRARequest,
        VLLMClientError,
        str(current_platform.device_type),
    )


def short(reason: BaseException) -> str:
    """What it says, on one line."""
    return " ".join(str(reason).split())[:300] or type(reason).__name__
