"""The adapters that vLLM answers with: held against the model as the built-in engine holds them, then given a name."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.engines.base import UnknownAdapterError
from hone.engines.lora import read_lora
from hone.engines.vllm.library import library, short
from hone.engines.vllm.neutral import Neutral
from hone.errors import ModelError, RecipeError
from hone.models.adapters import CONFIG
from hone.models.json_file import read_json

if TYPE_CHECKING:
    from hone.recipe import ModelSection

Admit = Callable[[Any], Any]
"""Has vLLM read an adapter; comes back when it did."""


class Adapters:
    """By name. `rank`: the largest there is room for, 0 for an engine that was started without adapters; `targets`: the
    last names of the layers that there is room beside.

    `skeleton` makes the model without numbers, which adapters are held against.
    """

    def __init__(self, *, rank: int, targets: Collection[str], skeleton: Callable[[], Any], admit: Admit) -> None:
        self.rank, self.targets, self.skeleton, self.admit = rank, targets, skeleton, admit
        self.own: Any = None
        """The one that answers where no name is said."""
        self.neutral: Neutral | None = None
        self.known: dict[str, Any] = {}
        self.numbers = itertools.count(1)
        self.changing = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are loaded, in the order they came."""
        return tuple(self.known)

    def named(self, name: str | None) -> Any:
        """vLLM's request for an adapter, None for the model as it is. Raises UnknownAdapterError."""
        if name is None:
            return self.own
        found = self.known.get(name)
        if found is None:
            raise UnknownAdapterError.one("ADAPTER-NAME", f"no adapter {name!r} is loaded", "", "load it first")
        return found

    def load(self, name: str, folder: Path, section: ModelSection) -> None:
        """Read an adapter and give it a name; where the name is taken, later requests get the new one.

        Raises ModelError for one that does not fit or is more than LoRA of linear layers, RecipeError without room.
        """
        with self.changing:
            self.known[name] = self._read(name, folder, section)

    def load_own(self, folder: Path, section: ModelSection) -> None:
        """The adapter that answers where no name is said. Raises as `load`."""
        self.own = self._read("own", folder, section)

    def leave_nobody_without(self) -> None:
        """Whoever names no adapter gets one that adds nothing."""
        self.neutral = Neutral(self.skeleton())
        self.own = self._request("none", self.neutral.folder)

    def unload(self, name: str) -> None:
        """Take a name away; answers under way go on. Raises UnknownAdapterError.

        vLLM itself drops the adapter that was longest unused when it needs the room.
        """
        with self.changing:
            self.named(name)
            del self.known[name]

    def _read(self, name: str, folder: Path, section: ModelSection) -> Any:
        if not self.rank:
            raise RecipeError.one(
                "ENGINE-ADAPTERS", "vLLM makes room for adapters when it is started, and it was started without any",
                "adapter_name_or_path", "start it with one (name=folder)",
            )  # fmt: skip
        lora = read_lora(self.skeleton(), folder, section)
        self._check_rank(folder)
        self._check_places(lora.factors, folder)
        return self._request(name, folder)

    def _request(self, name: str, folder: Path) -> Any:
        number = next(self.numbers)
        request = library().adapter(f"{name}#{number}", number, str(folder.resolve()))
        try:
            self.admit(request)
        except Exception as reason:  # whatever vLLM finds in it
            what = f"vLLM does not load the adapter ({short(reason)})"
            raise ModelError.one("ADAPTER-VLLM", what, str(folder), "use infer_backend: huggingface") from None
        return request

    def _check_places(self, names: Iterable[str], folder: Path) -> None:
        outside = sorted(name for name in names if name.rpartition(".")[2] not in self.targets)
        if outside:
            what = f"the adapter changes {outside[0]}, beside which vLLM computes no adapter rightly"
            raise ModelError.one("ADAPTER-KIND", what, str(folder), "use infer_backend: huggingface")

    def _check_rank(self, folder: Path) -> None:
        config: Any = read_json(folder / CONFIG)
        rank = max([config.get("r") or 0, *(config.get("rank_pattern") or {}).values()])
        if rank > self.rank:
            what = f"the adapter has rank {rank}, and vLLM was given room for {self.rank}"
            raise ModelError.one("ADAPTER-RANK", what, str(folder), f"set vllm_max_lora_rank: {rank}")
