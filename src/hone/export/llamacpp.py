"""A GGUF file asked through llama.cpp: its greedy answers, how likely it finds tokens, and the ids it gives a text."""

from __future__ import annotations

import importlib.util
import json
import secrets
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.errors import MachineError, ModelError

PACKAGE, INSTALL = "xllamacpp", "pip install 'hone-llm[gguf-check]'"
LIKELIEST = 1000
"""So many tokens are told of each place; the others count as one."""
CERTAIN = 1e6
"""Added to a logit, it decides."""
SECONDS = 600
"""The longest that a question to the program may take."""


def is_here() -> bool:
    """Whether llama.cpp can be asked."""
    return importlib.util.find_spec(PACKAGE) is not None


def need(key: str) -> None:
    """Raise MachineError with the line that installs it, where it is missing."""
    if not is_here():
        raise MachineError.one("LLAMA-CPP", f"the package {PACKAGE} is not installed", key, INSTALL)


@dataclass(frozen=True)
class Judge:
    """A file that is loaded, reached at an address of this machine with a key of its own. `rows`: its vocabulary."""

    server: Any
    key: str
    rows: int

    def answer(self, prompt: Sequence[int], length: int, stop_ids: Sequence[int]) -> tuple[int, ...]:
        """The greedy answer, at most `length` tokens, up to and with the first that ends it."""
        said = self._said(prompt, n_predict=length)
        return _until([int(one) for one in said["tokens"]], stop_ids)

    def odds(self, prompt: Sequence[int], answer: Sequence[int], stop_id: int) -> list[dict[int, float]]:
        """Before each token of the answer: the natural logarithms of the likeliest tokens' probabilities.

        The program tells no odds of a token that is a part of a letter. So it is made to say `stop_id` each time,
        which changes the odds it tells in nothing.
        """
        return [self._odds([*prompt, *answer[:place]], stop_id) for place in range(len(answer))]

    def _odds(self, ids: Sequence[int], stop_id: int) -> dict[int, float]:
        wish = {"n_predict": 1, "n_probs": min(self.rows, LIKELIEST), "logit_bias": [[stop_id, CERTAIN]]}
        (place,) = self._said(ids, **wish)["completion_probabilities"]
        return {int(one["id"]): float(one["logprob"]) for one in place["top_logprobs"]}

    def ids(self, text: str, *, begin: bool = False) -> list[int]:
        """A text's ids, control tokens read as such; `begin`: with what the file puts before every text."""
        asked = {"content": text, "add_special": begin, "parse_special": True}
        return [int(one) for one in self._asked("/tokenize", asked)["tokens"]]

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A conversation as the file's own chat template writes it, up to where the answer begins."""
        return str(self._asked("/apply-template", {"messages": list(messages)})["prompt"])

    def _said(self, ids: Sequence[int], **wish: Any) -> Any:
        plain = {"prompt": list(ids), "temperature": 0, "samplers": ["temperature"], "return_tokens": True}
        return self._asked("/completion", {**plain, **wish})

    def _asked(self, route: str, body: Mapping[str, Any]) -> Any:
        heads = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        address = self.server.listening_address + route
        request = urllib.request.Request(address, json.dumps(body).encode(), heads)  # noqa: S310  this machine
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def loaded(path: Path, *, rows: int, context: int, lora: Path | None = None) -> Iterator[Judge]:
    """The file in llama.cpp, its memory of a text in float32. `rows`: its vocabulary; `lora`: an adapter on it. Raises
    ModelError."""
    import torch
    import xllamacpp

    key = secrets.token_hex(16)
    wish = xllamacpp.CommonParams()
    wish.model.path, wish.n_ctx, wish.n_parallel = str(path), context, 1
    wish.n_batch = wish.n_ubatch = context
    wish.n_gpu_layers, wish.warmup, wish.port, wish.verbosity = 0, False, 0, -1
    wish.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    wish.cache_type_k = wish.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    wish.cpuparams.n_threads = wish.cpuparams_batch.n_threads = torch.get_num_threads()
    wish.api_keys = [key]
    wish.swa_full, wish.fit_params, wish.ctx_shift = True, False, False
    if lora is not None:
        wish.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
    try:
        server = xllamacpp.Server(wish)
    except Exception as reason:
        raise ModelError.one("EXPORT-GGUF", f"llama.cpp does not load the file ({reason})", path.name) from None
    try:
        yield Judge(server, key, rows)
    finally:
        del server


def _until(ids: Sequence[int], stop_ids: Sequence[int]) -> tuple[int, ...]:
    end = next((at + 1 for at, one in enumerate(ids) if one in stop_ids), len(ids))
    return tuple(ids[:end])
