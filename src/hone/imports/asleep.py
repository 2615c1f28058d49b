"""Parts of torch that are left unloaded until something uses them: its compiler and its tensors in shards, together a
thousand modules, which other libraries import only to leave a mark or to ask whether something is an instance."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

COMPILER = "torch._dynamo"
SHARDS = "torch.distributed.tensor"
MARKS = ("allow_in_graph", "assume_constant_result")
"""Decorators that leave a mark for the compiler and hand the function back as it is."""

LIGHT = f"{COMPILER}._trace_wrapped_higher_order_op"
"""The one module inside the compiler that stands by itself: transformers takes a class for masks from it."""

LAUNCHED = ("RANK", "WORLD_SIZE", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
"""Variables of launchers: with one of them this process may be one of several."""


def alone() -> bool:
    """Whether no launcher has started this process as one of several."""
    return not any(name in os.environ for name in LAUNCHED)


def let_torch_sleep() -> None:
    """From now on the compiler is imported when it is first used, and so are tensors in shards in a process that is
    alone; what is here already stays."""
    import torch

    folder = Path(torch.__file__ or "").parent
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = torch._dynamo = Compiler(folder / "_dynamo")
    if alone() and SHARDS not in sys.modules and (folder / "distributed" / "tensor").is_dir():
        sys.modules[SHARDS] = torch.distributed.tensor = Shards(folder / "distributed" / "tensor")


class Asleep(ModuleType):
    """Stands where a module belongs. What it cannot answer itself brings in the real one, which takes its place."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.__path__ = [str(folder)]
        self.__file__ = str(folder / "__init__.py")
        self.__spec__ = ModuleSpec(name, None, origin=self.__file__, is_package=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.wake(), name)

    def awake(self) -> ModuleType | None:
        """The real module, if it is here."""
        here = sys.modules.get(self.__name__)
        return None if here is self else here

    def wake(self) -> ModuleType:
        """Bring in the real module."""
        here = self.awake()
        if here is not None:
            return here
        sys.modules.pop(self.__name__, None)
        real = importlib.import_module(self.__name__)
        parent, _, child = self.__name__.rpartition(".")
        setattr(sys.modules[parent], child, real)
        return real


class Shards(Asleep):
    """Tensors in shards: while the real module sleeps there are none, so nothing is an instance of this class."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SHARDS, folder)
        self.DTensor = type("DTensor", (), {})


class Compiler(Asleep):
    """The compiler: outside compiled code its decorators and breaks mean nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(COMPILER, folder)
        self.marked: list[tuple[str, Any]] = []
        self.graph_break: Callable[..., None] = lambda *_, **__: None
        for mark in MARKS:
            setattr(self, mark, functools.partial(self._mark, mark))
        self.eval_frame = SimpleNamespace(OptimizedModule=type("OptimizedModule", (), {}))

    def _mark(self, mark: str, function: Any) -> Any:
        self.marked.append((mark, function))
        return function

    def disable(self, fn: Any = None, *given: Any, **named: Any) -> Any:
        """The function as it is, until the compiler is here; from then on what the compiler makes of it."""
        if not callable(fn):
            return lambda function: self.disable(function, *given, **named)
        real: list[Callable[..., Any]] = []

        @functools.wraps(fn)
        def plain(*args: Any, **kwargs: Any) -> Any:
            compiler = self.awake()
            if compiler is None:
                return fn(*args, **kwargs)
            if not real:
                real.append(compiler.disable(fn, *given, **named))
            return real[0](*args, **kwargs)

        return plain

    def wake(self) -> ModuleType:
        """Bring in the compiler, and hand it the functions that were marked for it."""
        first = self.awake() is None
        real = super().wake()
        for mark, function in self.marked if first else ():
            getattr(real, mark)(function)
        return real


class _Finder(MetaPathFinder):
    """Has a module come awake before anything inside it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """That of what lies inside; it may well have been imported on the way."""
        outer = name.rpartition(".")[0]
        asleep = sys.modules.get(outer)
        if not isinstance(asleep, Asleep) or name == LIGHT:
            return None
        real = asleep.wake()
        here = sys.modules.get(name)
        return PathFinder.find_spec(name, real.__path__) if here is None else ModuleSpec(name, _Here(here))


class _Here(Loader):
    """Hands out a module that is here already, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """It."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """It has been run; what it knows of itself stays."""
        module.__spec__ = self.spec
