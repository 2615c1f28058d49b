"""The engine of vLLM: it computes, schedules and draws; ids, templates, texts and their ends are ours."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any

from hone.engines.answering import QUEUE, SLOTS, Answering
from hone.engines.base import Deliver, Odds, Settings
from hone.engines.seen import Seen
from hone.engines.vllm.adapters import Adapters
from hone.engines.vllm.answer import Answer, odds_of
from hone.engines.vllm.arguments import check_names
from hone.engines.vllm.asked import asked, check_asked
from hone.engines.vllm.desk import Desk
from hone.engines.vllm.library import library, short
from hone.engines.vllm.thread import LoopThread
from hone.errors import HoneError, MachineError, ModelError, RecipeError

ABOVE = "what vLLM wrote above says more; or leave infer_backend out"


class VllmEngine(Answering):
    """Continues prompts with vLLM, started with `arguments` (`hone.engines.vllm.arguments`).

    `skeleton` makes the model without numbers, which adapters are held against. Raises RecipeError for arguments that
    vLLM does not know, ModelError for a model that it does not take.
    """

    name = "vllm"

    def __init__(
        self,
        arguments: Mapping[str, Any],
        tokenizer: Any,
        vocabulary: int,
        *,
        skeleton: Callable[[], Any],
        slots: int = SLOTS,
        queue: int = QUEUE,
    ) -> None:
        super().__init__(tokenizer, vocabulary)
        self.scheduler = Desk(slots=slots, queue=queue)
        self.numbers = itertools.count(1)
        self.thread = LoopThread(lambda: _start(arguments))
        self._context = int(self.thread.made.model_config.max_model_len)
        self._try_out(str(arguments["model"]))
        self.adapters = Adapters(
            rank=arguments.get("max_lora_rank", 0) if arguments.get("enable_lora") else 0,
            targets=arguments.get("lora_target_modules", ()),
            skeleton=skeleton,
            admit=lambda adapter: self.thread.do(self.thread.made.add_lora(adapter)).result(),
        )
        if self.adapters.rank and library().device == "cpu":
            self.adapters.leave_nobody_without()

    @property
    def context(self) -> int:
        """What it was started with."""
        return self._context

    @property
    def alive(self) -> bool:
        """Whether vLLM's processes live."""
        return not self.thread.closed and not self.thread.made.errored

    def close(self) -> None:
        """End vLLM's processes, and every answer with a sentence; the program's end does it too."""
        self.thread.close()
        for answer in list(self.scheduler.open):
            answer.tell(MachineError.one("VLLM-ENDED", "the engine was ended"))
            self.scheduler.leave(answer)

    def submit_all(
        self,
        prompt: Sequence[int],
        settings: Sequence[Settings],
        deliver: Sequence[Deliver],
        seen: Seen | None = None,
    ) -> list[Answer]:
        """Several answers to one prompt, all taken on or none. Raises as `generate` does."""
        self.check_prompt(prompt, seen)
        answers = [self._answer(prompt, *pair) for pair in zip(settings, deliver, strict=True)]
        self.scheduler.add(answers)
        for answer in answers:
            answer.give_up = self._do(answer, self._write(answer)).cancel
        return answers

    def prompt_odds(self, prompt: Sequence[int], likeliest: int, adapter: str | None = None) -> Future[list[Odds]]:
        """What the model gives each token of a prompt after the first one. Raises QueueFullError."""
        wanted = Settings(do_sample=False, max_new_tokens=1, adapter=adapter)
        answer = self._answer(prompt, wanted, lambda news: None)
        self.scheduler.add([answer])
        return self._do(answer, self._read(answer, likeliest))

    def _answer(self, prompt: Sequence[int], settings: Settings, deliver: Deliver) -> Answer:
        """Raises PromptTooLongError, UnknownAdapterError, GrammarError, and RecipeError for what vLLM cannot do."""
        check_asked(settings)
        adapter = self.adapters.named(settings.adapter)
        if settings.grammar is not None:
            self.grammars.check(settings.grammar, settings.stop_ids)
        room = settings.room(len(prompt), self.context)
        return Answer(prompt, settings, deliver, room=room, tokenizer=self.tokenizer, adapter=adapter)

    def _try_out(self, model: str) -> None:
        """One token, so that what vLLM loads and cannot compute is told now. Raises ModelError."""
        answer = Answer([0], Settings(do_sample=False), lambda news: None, room=1, tokenizer=self.tokenizer)
        try:
            self.thread.do(self._read(answer, 0)).result()
        except MachineError:
            self.thread.close()
            raise ModelError.one("VLLM-START", "vLLM loads and does not compute this model", model, ABOVE) from None

    def _do(self, answer: Answer, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Start it; however it ends, also before it began, the answer's place is free then."""
        try:
            begun = self.thread.do(work)
        except MachineError:
            self.scheduler.leave(answer)
            raise
        begun.add_done_callback(lambda _: self.scheduler.leave(answer))
        return begun

    async def _write(self, answer: Answer) -> None:
        """Have it written, and tell each token. Where a grammar begins after some words, what follows them is asked for
        anew: with all that was said as the prompt, which vLLM has read already."""
        try:
            while answer.finish is None and not answer.cancelled:
                held = answer.held
                async with aclosing(self._outputs(answer, held=held)) as outputs:
                    await self._hear(answer, outputs, held=held)
        except Exception as reason:
            self.scheduler.leave(answer)
            answer.tell(reason if isinstance(reason, HoneError) else _failed(reason))

    async def _hear(self, answer: Answer, outputs: AsyncIterator[Any], *, held: bool) -> None:
        wanted = answer.settings.logprobs
        async for output in outputs:
            said = output.outputs[0]
            for place, token in enumerate(said.token_ids):
                piece = answer.take(token, None if wanted is None else odds_of(token, said.logprobs[place], wanted))
                if answer.finish is not None:
                    self.scheduler.leave(answer)  # first, so that whoever hears of the end finds the place free
                answer.tell(piece)
                if answer.finish is not None or answer.cancelled or answer.held is not held:
                    return
        raise MachineError.one("VLLM-STOPPED", "vLLM ended an answer before its end")

    def _outputs(self, answer: Answer, *, held: bool) -> Any:
        found = asked(answer.settings, room=answer.room, stops=answer.stops, held=held)
        if held:
            found["structured_outputs"] = library().held_to(**found["structured_outputs"])
        return self._generate(answer, found)

    async def _read(self, answer: Answer, likeliest: int) -> list[Odds]:
        try:
            found = asked(answer.settings, room=1, stops=(), held=False) | {"prompt_logprobs": likeliest}
            (output,) = [one async for one in self._generate(answer, found)]
            told = output.prompt_logprobs[1:]
            return [odds_of(token, one, likeliest) for token, one in zip(answer.ids[1:], told, strict=True)]
        except Exception as reason:
            raise _failed(reason) from None

    def _generate(self, answer: Answer, words: Mapping[str, Any]) -> Any:
        wish = library().sampling(**words, output_kind=library().deltas)
        prompt = {"prompt_token_ids": list(answer.ids)}
        return self.thread.made.generate(prompt, wish, f"hone-{next(self.numbers)}", lora_request=answer.adapter)


def _start(arguments: Mapping[str, Any]) -> Any:
    """vLLM's own engine. Raises RecipeError, ModelError."""
    used = library()
    check_names(arguments, used.arguments.__dataclass_fields__)
    try:
        return used.engine.from_engine_args(used.arguments(**arguments))
    except Exception as reason:  # whatever vLLM finds wrong with model, arguments or machine
        what = f"vLLM does not start with this model ({short(reason)})"
        raise ModelError.one("VLLM-START", what, str(arguments["model"]), ABOVE) from None


def _failed(reason: BaseException) -> HoneError:
    if isinstance(reason, library().refused):
        return RecipeError.one("ENGINE-ASKED", f"vLLM does not take this request ({short(reason)})")
    return MachineError.one("VLLM-FAILED", f"vLLM could not go on ({short(reason)})")
