"""GGUF formats that llama.cpp makes itself (K-quants): of a whole file, by its own function."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

from hone.errors import MachineError, ModelError

TYPES = ("q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k")
SOURCE = "f32"
"""What they are made from."""
PACKAGE = "llama_cpp"


def need(wanted: str) -> None:
    """Raise MachineError where such a format is wanted and llama.cpp's function is not here."""
    if wanted in TYPES and importlib.util.find_spec(PACKAGE) is None:
        raise MachineError.one(
            "LLAMA-CPP", f"{wanted} is made by llama-cpp-python, which is not installed", "export_gguf_type",
            "pip install llama-cpp-python (builds for ten minutes), or choose q8_0, q5_1, q5_0, q4_1 or q4_0",
        )  # fmt: skip


def quantize(source: Path, target: Path, wanted: str) -> None:
    """Write the file anew in the format. Raises ModelError when llama.cpp cannot."""
    import llama_cpp
    import torch

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def quiet(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
        """It tells every tensor."""

    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    wish = llama_cpp.llama_model_quantize_default_params()
    wish.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{wanted.upper()}")
    wish.nthread = torch.get_num_threads()
    failed = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(wish))
    if failed or not target.is_file():
        raise ModelError.one("EXPORT-GGUF", f"llama.cpp could not write {wanted}", target.name, "choose q8_0")
