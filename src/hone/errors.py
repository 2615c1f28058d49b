"""What can go wrong, said to the person who can mend it: faults, and one exit code for each kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: a code such as `DATA-JSON`, what, where (`file:line` or a key), and how to mend it."""

    code: str
    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        line = f"error[{self.code}] {self.what}"
        if self.where:
            line += f": {self.where}"
        if self.fix:
            line += f": {self.fix}"
        return line


class HoneError(Exception):
    """Faults that end a command. Printed one line each, without a traceback; `exit_code` is documented."""

    exit_code = 1

    def __init__(self, *faults: Fault | str) -> None:
        """A str is what a loader process makes of an error there: faults among the lines of a traceback."""
        self.faults: tuple[Fault, ...] = tuple(one for fault in faults for one in _faults(fault))
        super().__init__("\n".join(str(fault) for fault in self.faults))

    @classmethod
    def one(cls, code: str, what: str, where: str = "", fix: str = "") -> HoneError:
        """The common case of a single fault."""
        return cls(Fault(code, what, where, fix))

    @classmethod
    def all_of(cls, faults: Iterable[Fault]) -> None:
        """Raise if there is any fault; all of them at once."""
        found = tuple(faults)
        if found:
            raise cls(*found)


def _faults(fault: Fault | str) -> list[Fault]:
    if isinstance(fault, Fault):
        return [fault]
    return [Fault(*found.groups()) for found in re.finditer(r"error\[([A-Z0-9-]+)\] (.*)", fault)]


class RecipeError(HoneError):
    """The command line or the recipe is wrong."""

    exit_code = 2


class DataError(HoneError):
    """A data set, or `dataset_info.json`, is wrong."""

    exit_code = 3


class ModelError(HoneError):
    """A model, adapter, tokenizer or template is corrupt, refused or does not fit."""

    exit_code = 4


class CheckpointError(HoneError):
    """A checkpoint is damaged or cannot be resumed from."""

    exit_code = 5


class MachineError(HoneError):
    """The machine lacks something: disk, memory, a port, a permission, a package, the network."""

    exit_code = 6


class NumericError(HoneError):
    """Training left the numbers: NaN or infinity."""

    exit_code = 7


class DistributedError(HoneError):
    """A process of a distributed run died or hung."""

    exit_code = 8
