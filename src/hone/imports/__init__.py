"""How libraries are brought in: without what a run does not use, and without finding out twice what they hold."""

from hone.imports.absent import absent
from hone.imports.asleep import alone, let_torch_sleep
from hone.imports.light import lighten
from hone.imports.structure import keep_structures

__all__ = ["absent", "alone", "keep_structures", "let_torch_sleep", "lighten"]
