"""torchrun with our manners: the exit code of the process that failed first, and no traceback of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hone.errors import DistributedError
from hone.log import say, use_utf8

_SPOKEN = (*range(2, 9), 130, 143)
"""Exit codes with which a process of Hone has said itself what went wrong."""


def main(words: Sequence[str]) -> int:
    """Run torchrun with these words; imports torch."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    use_utf8()
    try:
        torchrun(list(words))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in _SPOKEN:
            return int(failure.exitcode)
        say(f"error[DIST-CHILD] process {rank} ended with {failure.exitcode}: its last words stand above")
        return DistributedError.exit_code
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
