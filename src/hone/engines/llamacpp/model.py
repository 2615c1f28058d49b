"""A GGUF file opened by llama.cpp, and the context in which it reads tokens of many sequences at once."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hone.engines.llamacpp.library import complaint, complaints, library
from hone.errors import MachineError, ModelError

MOST_SEQUENCES = 256
"""As many as llama.cpp knows."""
BATCH = 1024
"""Tokens handed over at once, at the most."""
FORMATS = {"float32": 0, "float16": 1, "bfloat16": 30}
"""Number formats of keys and values by llama.cpp's numbers."""


class LlamaModel:
    """The weights, mapped from the file. Raises ModelError for a file that llama.cpp does not take, MachineError where
    llama.cpp is not installed. `card` False keeps everything on the processor."""

    def __init__(self, path: Path, *, card: bool = True) -> None:
        self.library, self.path = library(), path
        complaints.clear()
        options = self.library.llama_model_default_params()
        if not card:
            options.n_gpu_layers = 0
        self.pointer = self.library.llama_model_load_from_file(str(path).encode(), options)
        if not self.pointer:
            raise ModelError.one(
                "GGUF-LOAD", f"llama.cpp does not load this file{complaint()}", str(path),
                "take a file of a family that it knows, or leave infer_backend out",
            )  # fmt: skip
        weakref.finalize(self, self.library.llama_model_free, self.pointer)
        self.vocabulary = int(self.library.llama_vocab_n_tokens(self._words))
        if self.library.llama_model_has_encoder(self.pointer) or self.library.llama_model_is_diffusion(self.pointer):
            raise ModelError.one("GGUF-KIND", "this model does not continue texts token by token", str(path))

    @property
    def trained_context(self) -> int:
        """How many tokens the model was made for."""
        return int(self.library.llama_model_n_ctx_train(self.pointer))

    @property
    def cuttable(self) -> bool:
        """Whether what was read can be cut off after any token: not where there are recurrent states."""
        found = self.library.llama_model_is_recurrent(self.pointer) or self.library.llama_model_is_hybrid(self.pointer)
        return not found

    @property
    def bytes_per_token(self) -> int:
        """What keys and values of a token take in half precision, if every layer keeps them (an upper bound)."""
        library, model = self.library, self.pointer
        heads = max(int(library.llama_model_n_head(model)), 1)
        width = self._number("attention.key_length") or int(library.llama_model_n_embd(model)) // heads
        keyed = max(int(library.llama_model_n_head_kv(model)), 1)
        return 2 * 2 * int(library.llama_model_n_layer(model)) * keyed * width

    def ids_of(self, text: str) -> list[int]:
        """How llama.cpp itself reads a text, control tokens in it left plain and nothing put around it."""
        raw = text.encode()
        room = (ctypes.c_int32 * (len(raw) + 8))()
        count = self.library.llama_tokenize(self._words, raw, len(raw), room, len(room), False, False)
        return list(room[:count])

    @property
    def _words(self) -> Any:
        return self.library.llama_model_get_vocab(self.pointer)

    def _number(self, key: str) -> int:
        """A whole number of the file's header, 0 if it says none."""
        text = ctypes.create_string_buffer(64)
        family = ctypes.create_string_buffer(64)
        self.library.llama_model_meta_val_str(self.pointer, b"general.architecture", family, len(family))
        name = family.value + b"." + key.encode()
        found = self.library.llama_model_meta_val_str(self.pointer, name, text, len(text))
        return int(text.value) if found > 0 and text.value.isdigit() else 0


class LlamaContext:
    """Keys and values of `sequences` sequences in `cells` cells, and what reads more tokens into them.

    `numbers`: the format of keys and values (FORMATS), None for llama.cpp's own choice. Raises MachineError.
    """

    def __init__(self, model: LlamaModel, *, cells: int, sequences: int, threads: int, numbers: str | None) -> None:
        self.library, self.model = model.library, model
        options = self.library.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_seq_max = cells, BATCH, sequences
        options.n_outputs_max = min(sequences, BATCH)
        options.kv_unified = True
        options.n_threads = options.n_threads_batch = threads
        if numbers is not None:
            options.type_k = options.type_v = FORMATS[numbers]
        if numbers == "float32":  # its fused attention would round them to half precision
            options.flash_attn_type = self.library.LLAMA_FLASH_ATTN_TYPE_DISABLED
        complaints.clear()
        self.pointer = self.library.llama_init_from_model(model.pointer, options)
        if not self.pointer:
            what = f"llama.cpp has no room for keys and values of {cells} tokens{complaint()}"
            raise MachineError.one("LLAMACPP-ROOM", what, str(model.path), "close other programs, or ask fewer at once")
        weakref.finalize(self, self.library.llama_free, self.pointer)
        self.memory = self.library.llama_get_memory(self.pointer)
        self.cells = int(self.library.llama_n_ctx(self.pointer))
        self.most_rows = int(options.n_outputs_max)
        self._ids, self._places = np.zeros(BATCH, np.int32), np.zeros(BATCH, np.int32)
        self._owners, self._wanted = np.zeros(BATCH, np.int32), np.zeros(BATCH, np.int8)
        self._ones = np.ones(BATCH, np.int32)
        self._pointers = self._owners.ctypes.data + 4 * np.arange(BATCH, dtype=np.uintp)
        self._batch = self._over_arrays()

    def read(
        self, ids: Sequence[int], places: Sequence[int], sequences: Sequence[int], wanted: Sequence[bool]
    ) -> Tensor:
        """Read tokens, each at its place of its sequence; logits [wanted, vocabulary] after the wanted ones.

        They are llama.cpp's own memory: true until the next call. Raises MachineError.
        """
        count = len(ids)
        self._ids[:count], self._places[:count] = ids, places
        self._owners[:count], self._wanted[:count] = sequences, wanted
        self._batch.n_tokens = count
        complaints.clear()
        code = self.library.llama_decode(self.pointer, self._batch)
        if code:
            what = f"llama.cpp could not go on, it says {code}{complaint()}"
            raise MachineError.one("LLAMACPP-STEP", what, str(self.model.path))
        rows = sum(map(bool, wanted))
        if not rows:
            return torch.empty(0, self.model.vocabulary)
        logits = self.library.llama_get_logits(self.pointer)
        return torch.from_numpy(np.ctypeslib.as_array(logits, (rows, self.model.vocabulary)))

    def forget(self, sequence: int, kept: int) -> None:
        """Drop all but the first `kept` tokens of a sequence."""
        if not self.library.llama_memory_seq_rm(self.memory, sequence, kept if kept else -1, -1):
            raise RuntimeError(f"sequence {sequence} cannot be cut after {kept} tokens")

    def share(self, source: int, sequence: int, tokens: int) -> None:
        """Let an empty sequence have the first tokens of another one."""
        self.library.llama_memory_seq_cp(self.memory, source, sequence, 0, tokens)

    def clear(self) -> None:
        """Forget everything."""
        self.library.llama_memory_clear(self.memory, True)

    def _over_arrays(self) -> Any:
        """llama.cpp's batch, whose tokens are those of the arrays kept here."""
        batch, library = self.library.llama_batch(), self.library
        for field, array in (
            ("token", self._ids),
            ("pos", self._places),
            ("n_seq_id", self._ones),
            ("seq_id", self._pointers),
            ("logits", self._wanted),
        ):
            kind = dict(library.llama_batch._fields_)[field]
            setattr(batch, field, ctypes.cast(array.ctypes.data, kind))
        return batch
