"""How libraries are brought in: without what a run does not use, and without finding out twice what they hold."""

from hone.imports.absent import absent
from hone.imports.asleep import alone
from hone.imports.light import lighten

__all__ = ["absent", "alone", "lighten"]
