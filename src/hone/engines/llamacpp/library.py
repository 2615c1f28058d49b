"""llama.cpp's C interface as the package llama-cpp-python binds it: found, silenced, and missed in one sentence."""

from __future__ import annotations

import ctypes
from collections import deque
from functools import cache
from typing import Any

from hone.errors import MachineError

INSTALL = "pip install 'hone-llm[llamacpp]' (it is compiled here, which takes some minutes)"
ERROR = 4
"""Levels of llama.cpp's log from here on are errors; 5 continues a line."""
complaints: deque[str] = deque(maxlen=4)
"""The last errors that llama.cpp wrote into its log."""


@cache
def library() -> Any:
    """The module with the functions `llama_*`. Raises MachineError where it is not installed or cannot be loaded."""
    try:
        import llama_cpp  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as missing:
        name = {"llama_cpp": "llama-cpp-python"}.get(missing.name or "llama_cpp", missing.name)
        what = f"{name} is not installed, and infer_backend: llamacpp needs it"
        raise MachineError.one("EXTRA-LLAMACPP", what, "infer_backend", INSTALL) from None
    except (OSError, RuntimeError) as reason:  # the package is there, its compiled part is not, or not for this machine
        what = f"llama-cpp-python cannot be loaded ({_short(str(reason))})"
        raise MachineError.one("EXTRA-LLAMACPP", what, "infer_backend", INSTALL) from None
    llama_cpp.llama_log_set(_listener(llama_cpp), ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


@cache
def _listener(module: Any) -> Any:
    """What llama.cpp calls with each line of its log; kept for as long as the process lives."""

    def hear(level: int, text: bytes, _: Any) -> None:
        if level == ERROR:
            complaints.append(text.decode("utf-8", errors="replace").strip())

    return module.llama_log_callback(hear)


def complaint() -> str:
    """What llama.cpp said last when something went wrong, in brackets; empty if it said nothing."""
    return f" ({_short(complaints[0])})" if complaints else ""


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
