"""Functions between matrix products as machine code, built once by the compiler of the machine where there is one."""

from hone.models.native.build import begin, library

__all__ = ["begin", "library"]
