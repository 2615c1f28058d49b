"""What is said when a signal has ended a run: that it is saved, and the line that takes it up again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hone.log import say
from hone.training.processes import is_first_process
from hone.training.stop import Stopped

OVERWRITE = "overwrite_output_dir"


def tell(stopped: Stopped, words: Sequence[str], *, overwrites: bool) -> int:
    """The exit code of a training that was asked for with these words; `overwrites`: they would begin anew."""
    if is_first_process():
        say(f"stopped by signal {stopped.exit_code - 128}; resume with: {line(words, overwrites=overwrites)}")
    return stopped.exit_code


def line(words: Sequence[str], *, overwrites: bool) -> str:
    """The command that goes on where this one stopped: the same, but that it never begins anew."""
    kept, flags, skip = [], False, False
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flags = flags or word.startswith("--")
        if skip or word.lstrip("-").startswith(OVERWRITE):
            skip = not skip and word == f"--{OVERWRITE}" and following.lower() in ("true", "false")
            continue
        kept.append(word)
    more = ([f"--{OVERWRITE}", "False"] if flags else [f"{OVERWRITE}=false"]) if overwrites else []
    return shlex.join(["hone", "train", *kept, *more])
