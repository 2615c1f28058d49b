"""The adapters that requests may name: loaded and taken away while others are being answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.engines.base import UnknownAdapterError
from hone.engines.board import Board
from hone.engines.lora import Lora, read_lora
from hone.engines.own_forward import OwnForward
from hone.engines.quick_board import QuickBoard
from hone.engines.threads import give_back_threads

if TYPE_CHECKING:
    from hone.recipe import ModelSection

Aside = Callable[[Callable[[], Any]], Future[Any]]
"""Has something done on the engine's thread, between two steps."""


class Adapters:
    """By name. A request keeps the adapter that its name meant when it was taken on, whatever becomes of the name."""

    def __init__(self, own: OwnForward, board: Board | QuickBoard, aside: Aside) -> None:
        self.own, self.board, self.aside = own, board, aside
        self.loras: dict[str, Lora] = {}
        self.changing = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are loaded, in the order they came."""
        return tuple(self.loras)

    def named(self, name: str | None) -> Lora | None:
        """None for None. Raises UnknownAdapterError."""
        if name is None:
            return None
        found = self.loras.get(name)
        if found is None:
            raise UnknownAdapterError.one("ADAPTER-NAME", f"no adapter {name!r} is loaded", "", "load it first")
        return found

    def load(self, name: str, folder: Path, section: ModelSection) -> None:
        """Read an adapter and give it a name; where the name is taken, later requests get the new one.

        Blocks while others are answered between its steps. Raises ModelError for an adapter that does not fit the
        model, is more than LoRA of linear layers, or cannot share a batch; QueueFullError.
        """
        with self.changing:
            try:
                lora = read_lora(self.own.model, folder, section)
                self.aside(lambda: self._admit(lora)).result()
            finally:
                give_back_threads()
            before = self.loras.get(name)
            self.loras[name] = lora
            if before is not None:
                self.aside(lambda: self._forget(before))

    def unload(self, name: str) -> None:
        """Take a name away. Raises UnknownAdapterError, QueueFullError."""
        with self.changing:
            lora = self.named(name)
            if lora is not None:
                self.aside(lambda: self._forget(lora))
                del self.loras[name]

    def _admit(self, lora: Lora) -> None:
        self.own.admit(lora)
        self.board.admit(lora)

    def _forget(self, lora: Lora) -> None:
        self.own.forget(lora)
        self.board.forget(lora)
