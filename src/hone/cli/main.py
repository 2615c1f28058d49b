"""The verb table, and where errors become sentences and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from hone.errors import HoneError, MachineError, RecipeError
from hone.imports import lighten
from hone.log import say, use_utf8


@dataclass(frozen=True)
class Verb:
    """A verb: what it does, its function (`module:name`, empty if not built), if it takes a recipe, its own words."""

    summary: str
    target: str = ""
    recipe: bool = True
    words: str = ""


VERBS = {
    "quickstart": Verb(
        "tune a small model on this machine and see the difference",
        "hone.runs.quickstart:run",
        False,
        "[--name NAME] [--author AUTHOR] [--output_dir FOLDER]",
    ),
    "train": Verb("train a model, evaluate it", "hone.cli.launch:train"),
    "chat": Verb("talk with a model in the terminal", "hone.runs.chat:run"),
    "predict": Verb("answer a data set and score the answers", "hone.runs.predict:run"),
    "eval": Verb("multiple-choice benchmarks", "hone.runs.eval:run", words="RECIPE | --compare FOLDER FOLDER"),
    "export": Verb("merge adapters and write the model", "hone.runs.export:run"),
    "api": Verb("serve a model over HTTP", "hone.server.main:run"),
    "webchat": Verb("talk with a model in the browser", "hone.cli.webchat:run"),
    "webui": Verb("the board in the browser", recipe=False),
    "data": Verb(
        "look at the data of a recipe: `check` or `preview`",
        "hone.runs.data:run",
        words="check RECIPE [--json] | preview RECIPE [--row N] [--html FILE]",
    ),
    "plan": Verb(
        "what a training will take: memory, steps, tokens, disk, time",
        "hone.runs.plan:run",
        words="RECIPE [--json] [--no-probe]",
    ),
    "verify": Verb(
        "is a recipe exact: loss and gradients in two ways each, on a few rows",
        "hone.runs.verify:run",
        words="RECIPE [--json]",
    ),
    "replay": Verb(
        "run a finished training again and compare the numbers",
        "hone.runs.replay:run",
        False,
        "RUN [--output_dir FOLDER]",
    ),
    "template": Verb(
        "list, show and compare the templates",
        "hone.runs.template_verb:run",
        False,
        "list | show NAME | compare NAME --tokenizer FOLDER   [--json]",
    ),
    "expand": Verb(
        "give a model more blocks, for use_llama_pro", "hone.runs.expand:run", False, "MODEL FOLDER --blocks N"
    ),
    "check": Verb("check a recipe and print it settled", "hone.cli.verbs:check"),
    "schema": Verb("print the JSON Schema of a recipe", "hone.cli.verbs:schema", False),
    "docs": Verb("write the recipe's reference to a file", "hone.cli.verbs:docs", False, "FILE"),
    "env": Verb("print versions and devices", "hone.cli.verbs:env", False),
    "version": Verb("print the version", "hone.cli.verbs:version", False),
    "help": Verb("print this list", "hone.cli.verbs:usage_asked", False),
}
_HELP = ("-h", "--help")
_DEBUG_OPTIONS = ("underflow_overflow", "tpu_metrics_debug")
"""Values of the recipe's own key `debug`; a `--debug` before anything else asks for tracebacks."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code: 0 is well, 2 to 8 are those of `hone.errors`, 130 is Ctrl-C."""
    use_utf8()
    _share_the_cores()
    lighten()
    debug, rest = _take_debug(sys.argv[1:] if words is None else words)
    try:
        return _run(rest)
    except HoneError as error:
        for fault in error.faults:
            say(str(fault))
        return _code(error, error.exit_code, debug)
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        return 0
    except (OSError, MemoryError) as error:
        say(_machine(error))
        return _code(error, MachineError.exit_code, debug)
    except Exception as error:
        say(f"error[BUG] {type(error).__name__}: {error}: run again with --debug and report what it prints")
        return _code(error, 1, debug)


def _share_the_cores() -> None:
    """Let threads that wait for each other give way soon, unless the user has set how they wait.

    On a busy machine torch's threads otherwise spin through each other's turns: training fell to a tenth of its speed
    beside two busy processes, and keeps most of its share with this; on a quiet machine there is no difference.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "30000"


def usage() -> str:
    """The list of verbs."""
    width = max(map(len, VERBS))
    later = {True: "", False: " (not built yet)"}
    lines = (f"  {name:<{width}}  {verb.summary}{later[bool(verb.target)]}" for name, verb in VERBS.items())
    head = "usage: hone VERB [recipe.yaml] [name=value …]\n       hone VERB --name value …\n"
    return "\n".join([head, *lines, "", "`hone VERB -h` lists what a verb takes. `--debug` shows tracebacks."])


def _run(words: list[str]) -> int:
    if not words:
        say(usage())
        return 2
    name, *rest = words
    name = {"--help": "help", "-h": "help", "--version": "version", "-v": "version"}.get(name, name)
    if name not in VERBS:
        close = get_close_matches(name, VERBS, n=1)
        say(f"{usage()}\n\nerror[CLI-VERB] {name}: no such verb" + (f": did you mean {close[0]}?" if close else ""))
        return 2
    if any(word in _HELP for word in rest):
        return _verb_help(name)
    return _function(name)(rest) or 0


def _function(name: str) -> Callable[[Sequence[str]], int | None]:
    if not VERBS[name].target:
        raise RecipeError.one("CLI-LATER", f"hone {name}", "", "this verb is not built yet")
    module, _, function = VERBS[name].target.partition(":")
    return getattr(importlib.import_module(module), function)


def _verb_help(name: str) -> int:
    from hone.cli.verbs import show_help

    return show_help(name)


def _machine(error: BaseException) -> str:
    """What the system refused, and where."""
    reason = getattr(error, "strerror", None) or str(error) or "out of memory"
    place = getattr(error, "filename", None)
    return f"error[MACHINE] {reason}" + (f": {place}" if place else "")


def _take_debug(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether `--debug` stands alone among the words, and the words without it."""
    kept = [
        word
        for word, following in zip(words, [*words[1:], ""], strict=False)
        if word != "--debug" or following.split(",")[0] in _DEBUG_OPTIONS
    ]
    return len(kept) < len(words), kept


def _code(error: BaseException, code: int, debug: bool) -> int:
    if debug:
        import traceback

        say("".join(traceback.format_exception(error)).rstrip())
    return code
