"""Several adapters in one batch: what each row's own one adds to a product, in two thin products for all rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from hone.engines.lora import Factors, Lora

Fit = Callable[[Lora], Mapping[Any, Factors]]
"""Where an adapter's factors belong in a forward: by place, which is whatever that forward names its products."""

Stacks: TypeAlias = Mapping[Any, tuple[Factors, tuple[int, ...]]]
"""By place: factors of several adapters side by side, and the rank of each."""


class Mixer:
    """The adapters that a forward knows, and those of late steps stacked, so that a step copies nothing."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.fitted: WeakKeyDictionary[Lora, Stacks] = WeakKeyDictionary()
        """Those that a request may still have: an adapter is kept by its name and by the requests that have it."""
        self.stacked: tuple[ref[Lora], ...] = ()
        self.stacks: Stacks = {}

    def admit(self, lora: Lora) -> None:
        """From now on rows may have it. Raises ModelError where one of its layers has no place."""
        self.fitted[lora] = {place: (found, (len(found.down),)) for place, found in self.fit(lora).items()}

    def forget(self, lora: Lora) -> None:
        """Its name is gone: it is not kept stacked for nobody. Requests that still have it go on."""
        if any(one() is lora for one in self.stacked):
            self.stacked, self.stacks = (), {}

    def mix(self, rows: Sequence[Lora | None]) -> Mix | None:
        """What is added for rows [T] that have these adapters; None where no row has one."""
        stacked = [one() for one in self.stacked]
        if None in stacked:  # nobody has it any more
            self.stacked, self.stacks, stacked = (), {}, []
        present = list(dict.fromkeys(row for row in rows if row is not None))
        if not present:
            return None
        if len(present) == 1 and None not in rows:
            return Mix(self.fitted[present[0]], None)
        if not set(present) <= set(stacked):
            self.stacked, stacked = tuple(map(ref, present)), list(present)
            self.stacks = self._stacks(present)
        number = {lora: place for place, lora in enumerate(stacked)}
        owners = torch.tensor([-1 if row is None else number[row] for row in rows])
        return Mix(self.stacks, owners)

    def _stacks(self, loras: Sequence[Lora]) -> Stacks:
        stacks = {}
        for place in dict.fromkeys(place for lora in loras for place in self.fitted[lora]):
            found = [self.fitted[lora].get(place) for lora in loras]
            have = [one[0] for one in found if one is not None]
            both = Factors(torch.cat([one.down for one in have]), torch.cat([one.up for one in have], 1))
            stacks[place] = both, tuple(0 if one is None else one[1][0] for one in found)
        return stacks


class Mix:
    """What is added in one step. `owners` [T]: which stacked adapter a row has, -1 for none; None: all the same one."""

    def __init__(self, stacks: Stacks, owners: Tensor | None) -> None:
        self.stacks, self.owners = stacks, owners
        self.strangers: dict[tuple[int, ...], Tensor] = {}

    def add(self, place: Hashable, source: Tensor, output: Tensor) -> Tensor:
        """source [T, in], output [T, out] of the product at a place: the output with what the adapters add to it.

        Columns of other rows' adapters are set to zero, not multiplied by it, so that nothing passes between rows.
        """
        found = self.stacks.get(place)
        if found is None:
            return output
        factors, ranks = found
        narrow = torch.mm(source.to(factors.down.dtype), factors.down.t())
        if self.owners is not None:
            narrow.masked_fill_(self._strange(ranks, narrow.device), 0)
        return torch.addmm(output, narrow.to(output.dtype), factors.up.t().to(output.dtype))

    def _strange(self, ranks: tuple[int, ...], device: torch.device) -> Tensor:
        """[T, R]: which columns belong to another adapter than the row's."""
        if ranks not in self.strangers and self.owners is not None:
            columns = torch.repeat_interleave(torch.arange(len(ranks)), torch.tensor(ranks))
            self.strangers[ranks] = (self.owners[:, None] != columns[None]).to(device)
        return self.strangers[ranks]
