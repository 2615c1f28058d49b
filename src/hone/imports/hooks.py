"""Something that surrounds the import of a module, whoever imports it and whenever; nothing is imported early."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

Surroundings = Callable[[], AbstractContextManager[None]]


def during_import(name: str, surroundings: Surroundings) -> None:
    """Run the module, once it is imported, inside `with surroundings():`. Too late for one that is here already."""
    if name in sys.modules:
        return
    finder = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
    waiting = finder.waiting.setdefault(name, [])
    if surroundings not in waiting:
        waiting.append(surroundings)


class _Finder(MetaPathFinder):
    """Finds the modules that are waited for as Python would, and surrounds the running of each."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Surroundings]] = {}

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """What Python's own finder finds."""
        if name not in self.waiting:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            with ExitStack() as stack:
                for surroundings in self.waiting.pop(name, ()):
                    stack.enter_context(surroundings())
                run(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
