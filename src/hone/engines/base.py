"""What an engine is: something that continues a prompt, ids in, pieces of ids and text out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hone.errors import HoneError, MachineError, RecipeError
from hone.recipe import GeneratingSection

Finish = Literal["stop", "length"]
"""Why an answer ended: the model said so (a stop id), or its room was used up."""


COLDEST = 1e-5
"""Below this temperature the likeliest token is taken; ties aside, no other could be drawn."""


class PromptTooLongError(RecipeError):
    """The prompt, or the prompt and the tokens asked for, do not fit into the model's context."""


class UnknownAdapterError(RecipeError):
    """No adapter of this name is loaded."""


class QueueFullError(MachineError):
    """As many requests wait as may wait; ask again later."""


@dataclass(frozen=True)
class Settings:
    """How to continue, and as whom. The defaults are those of the recipe's generating section, and mean the same.

    `min_p`: tokens less likely than this share of the likeliest are left out. The presence and frequency penalties
    count what was answered, the repetition penalty also what was asked. `stop` texts end an answer and are not shown.
    `logprobs`: how many of the likeliest tokens to report beside each one, None for no report at all.
    `grammar`: what the answer must follow (`hone.engines.grammar`), from the words `grammar_after` on if there are any.
    `adapter`: the name of the adapter to answer with, None for the model as it is.
    """

    do_sample: bool = True
    temperature: float = 0.95
    top_p: float = 0.7
    top_k: int = 50
    repetition_penalty: float = 1.0
    max_length: int = 1024
    max_new_tokens: int = 1024
    skip_special_tokens: bool = True
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()
    elastic: bool = False
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    grammar: str | None = None
    grammar_after: str = ""
    adapter: str | None = None

    @classmethod
    def of(
        cls,
        generating: GeneratingSection,
        *,
        stop_ids: Sequence[int],
        seed: int | None = None,
        elastic: bool = False,
    ) -> Settings:
        """The recipe's section, with the ids that end an answer (the template's) and the seed of the draws.

        `elastic`: nobody asked for this length, so an answer may be shorter where the context leaves less room.
        """
        return cls(
            do_sample=generating.do_sample,
            temperature=generating.temperature,
            top_p=generating.top_p,
            top_k=generating.top_k,
            repetition_penalty=generating.repetition_penalty,
            max_length=generating.max_length,
            max_new_tokens=generating.max_new_tokens,
            skip_special_tokens=generating.skip_special_tokens,
            seed=seed,
            stop_ids=tuple(stop_ids),
            elastic=elastic,
        )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken: sampling is off, or its temperature is 0 (or next to it, where
        logits over it are no numbers any more)."""
        return not self.do_sample or self.temperature < COLDEST

    def room(self, prompt: int, context: int | None) -> int:
        """How many tokens may follow a prompt of so many: `max_new_tokens`, or if that is 0 the rest of `max_length`.

        Raises PromptTooLongError when it does not fit into the context (in tokens; None: unknown, not checked).
        """
        wanted = self.max_new_tokens if self.max_new_tokens > 0 else self.max_length - prompt
        if wanted <= 0:
            raise _too_long(f"the prompt has {prompt} tokens and max_length is {self.max_length}", "raise max_length")
        if self.elastic and context is not None:
            wanted = min(wanted, max(context - prompt, 1))
        if context is not None and prompt + wanted > context:
            raise _too_long(
                f"the prompt has {prompt} tokens and {wanted} may follow, but the model's context holds {context}",
                "shorten the prompt, or lower max_new_tokens" if prompt < context else "shorten the prompt",
            )
        return wanted


def _too_long(what: str, fix: str) -> HoneError:
    return PromptTooLongError.one("PROMPT-LENGTH", what, fix=fix)


@dataclass(frozen=True)
class Odds:
    """What the model itself gave a token (natural logarithm, before penalties and temperature), and the likeliest."""

    id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """The next token ids and the text they complete: often less than their own text, never half a character.

    The last piece of an answer says why it ended; a stop id is among the ids, and never in the text.
    """

    ids: tuple[int, ...]
    text: str
    finish: Finish | None = None
    odds: tuple[Odds, ...] = ()


Deliver = Callable[[Piece | Exception], None]
"""Where an engine puts what comes: pieces up to the one with a `finish`, or the reason why there are no more."""


class Ticket(Protocol):
    """A request that was taken on."""

    def cancel(self) -> None:
        """Nobody wants the rest: no further token is computed, and nothing more delivered."""


class Engine(Protocol):
    """Continues prompts, several at once."""

    @property
    def context(self) -> int | None:
        """How many tokens prompt and answer may have together, None when unknown."""

    @property
    def vocabulary(self) -> int:
        """The ids of a prompt are below it."""

    @property
    def sees(self) -> bool:
        """Whether a prompt may have pictures."""

    def generate(self, prompt: Sequence[int], settings: Settings, seen: Any = None) -> Iterator[Piece]:
        """The answer to a prompt of token ids, piece by piece; closing the iterator (or dropping it) cancels it.

        `seen` is the prompt's pictures (`hone.engines.seen.Seen`).
        Raises PromptTooLongError and QueueFullError at once, before the first piece.
        """

    def submit(self, prompt: Sequence[int], settings: Settings, deliver: Deliver, seen: Any = None) -> Ticket:
        """Take a request on and come back at once; `deliver` is called from another thread. Raises as `generate`."""
