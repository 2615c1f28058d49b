"""Hone's engine as lm-evaluation-harness wants a model: likelihoods of continuations, and answers up to a stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from hone.dialogue.message import Conversation, Message, Text
from hone.engines.base import Settings
from hone.engines.likelihood import Score, score_continuations
from hone.engines.rows import answer_rows
from hone.engines.session import Session
from hone.errors import DataError, RecipeError
from hone.runs.gauge import Gauge
from hone.runs.unfinished import Unfinished

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
SIDE_BY_SIDE = 32


class HarnessModel(TemplateLM):
    """Answers the harness's requests with a session's engine; each answer is written down as it comes.

    Requests are numbered in the order in which the harness asks, which is the same for the same task and settings;
    an answer of an earlier run counts only where the very same thing was asked.
    """

    def __init__(self, session: Session, *, rows: int, seed: int, record: Unfinished | None) -> None:
        super().__init__()
        self.session, self.rows, self.seed, self.record = session, rows, seed, record
        self.tokenizer: Any = session.encoder.tokenizer
        self.spoken: dict[str, list[int]] = {}
        """Prompts that the template wrote, by their text: its ids are asked, not the text read anew."""
        self.count = 0

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has nothing before it."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def tokenizer_name(self) -> str:
        """For the harness's own records."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """For the harness's own records: the template is Hone's card, not Jinja."""
        return self.session.encoder.template.name if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of the prompt that asks for the next answer. Raises RecipeError for an answer begun beforehand."""
        if not add_generation_prompt:
            what = "this task begins the answer itself, which a template cannot be asked for"
            raise RecipeError.one("EVAL-TASK", what, "template", "template: fewshot")
        turns = tuple(Message(turn["role"], (Text(turn["content"]),)) for turn in chat_history)  # type: ignore[arg-type]
        ids = self.session.encoder.prompt(Conversation(turns))
        text = str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if self.spoken.setdefault(text, ids) != ids:
            raise DataError.one("EVAL-TASK", "two prompts have one text but not the same ids", text[-80:])
        return text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids; what the tokenizer puts before a text is put there once."""
        if string in self.spoken:
            return list(self.spoken[string])
        begins = string.startswith(self.tokenizer.bos_token or "\0")
        special = not begins if add_special_tokens is None else add_special_tokens
        return list(self.tokenizer.encode(string, add_special_tokens=special))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context in self.spoken:
            return list(self.spoken[context]), self.tok_encode(continuation, add_special_tokens=False)
        pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
        return pair

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-probability (nats) of each continuation, and whether it is what would be written greedily."""
        pairs = [self._pair(*request.args) for request in requests]
        return self._likelihoods(pairs, [str(request.task_name) for request in requests])

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context:
            return self._encode_pair(context, continuation)
        ids = self.tok_encode(continuation, add_special_tokens=False)
        return (ids[:1], ids[1:]) if ids[:1] == [self.prefix_token_id] else ([self.prefix_token_id], ids)

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        return self._likelihoods([(before, after) for _, before, after in requests], [""] * len(requests))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability (nats) of each whole text, read in windows as long as the context."""
        windows: list[tuple[list[int], list[int]]] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            cut = get_rolling_token_windows(
                token_list=self.tok_encode(*request.args), prefix_token=self.prefix_token_id,
                max_seq_len=(self.session.engine.context or 2049) - 1, context_len=1,
            )  # fmt: skip
            for before, after in map(make_disjoint_window, cut):
                windows.append((before, after))
                owners.append(number)
        sums = [0.0] * len(requests)
        for number, (value, _) in zip(owners, self._likelihoods(windows, [""] * len(windows)), strict=True):
            sums[number] += value
        return sums

    def _likelihoods(self, pairs: Sequence[tuple[list[int], list[int]]], tasks: Sequence[str]) -> list[Any]:
        """Task by task, so that what all its prompts begin with is read once."""
        context = self.session.engine.context
        longest = max((len(before) + len(after) for before, after in pairs), default=0)
        if context is not None and longest > context:
            _too_long(longest, context)

        def ask(missing: Sequence[int], note: Callable[[int, Any], None]) -> None:
            for task in dict.fromkeys(tasks[number] for number in missing):
                own = [number for number in missing if tasks[number] == task]

                def told(place: int, scores: list[Score], own: list[int] = own) -> None:
                    note(own[place], [scores[0].logprob, scores[0].greedy])

                score_continuations(
                    self.session.engine.model,  # type: ignore[attr-defined]
                    [pairs[number][0] for number in own],
                    [[pairs[number][1]] for number in own],
                    rows=self.rows,
                    done=told,
                )

        return [(float(value), bool(greedy)) for value, greedy in self._asked(pairs, ask)]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each prompt, up to a stop of the task."""
        asked = [(self.tok_encode(context), _wishes(given)) for context, given in (one.args for one in requests)]

        def ask(missing: Sequence[int], note: Callable[[int, Any], None]) -> None:
            kinds = {repr(asked[number][1]): asked[number][1] for number in missing}
            for key, wishes in kinds.items():
                prompts = {number: asked[number][0] for number in missing if repr(asked[number][1]) == key}
                settings = _settings(wishes, self.session.encoder.stop_ids, self.seed)
                for answer in answer_rows(self.session.engine, prompts, settings, side_by_side=SIDE_BY_SIDE):
                    text = self.tokenizer.decode(
                        answer.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
                    )
                    for stop in settings.stop:
                        text = text.split(stop)[0]
                    note(answer.row, text)

        return [str(text) for text in self._asked(asked, ask)]

    def _asked(self, requests: Sequence[Any], ask: Callable[[Sequence[int], Callable[[int, Any], None]], None]) -> Any:
        """The answers of an earlier run, and `ask` for those that are missing."""
        first, self.count = self.count, self.count + len(requests)
        marks = [hashlib.sha256(json.dumps(one).encode()).hexdigest()[:16] for one in requests]
        kept = self.record.rows if self.record else {}
        found: dict[int, Any] = {}
        for number, mark in enumerate(marks):
            row = kept.get(first + number, {})
            if row.get("asked") == mark:
                found[number] = row["said"]
        with Gauge("asking", len(requests), things="requests", begun=len(found)) as gauge:

            def note(number: int, said: Any) -> None:
                found[number] = said
                if self.record is not None:
                    self.record.add(first + number, {"asked": marks[number], "said": said})
                gauge.add()

            ask([number for number in range(len(requests)) if number not in found], note)
        return [found[number] for number in range(len(requests))]


def _wishes(given: Mapping[str, Any]) -> dict[str, Any]:
    """The task's `generation_kwargs` by the harness's own rules. Raises RecipeError for what the engine has not."""
    wishes = normalize_gen_kwargs(dict(given), 256)
    unknown = sorted(set(wishes) - {"until", "max_gen_toks", "do_sample", *SAMPLING})
    if unknown:
        what = f"the task wants {', '.join(unknown)} in its generation_kwargs, which Hone's engine does not have"
        raise RecipeError.one("EVAL-TASK", what, "task", "take it out of the task's file")
    return dict(sorted(wishes.items()))


def _settings(wishes: Mapping[str, Any], stop_ids: Sequence[int], seed: int) -> Settings:
    sampled = {key: wishes[key] for key in SAMPLING if key in wishes} if wishes["do_sample"] else {}
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": wishes.get("repetition_penalty", 1.0)}
    return Settings(
        do_sample=bool(wishes["do_sample"]), max_new_tokens=wishes["max_gen_toks"], elastic=True, seed=seed,
        stop=tuple(stop for stop in wishes["until"] if stop), stop_ids=tuple(stop_ids), **{**plain, **sampled},
    )  # fmt: skip


def _too_long(longest: int, context: int) -> None:
    what = f"a question has {longest} tokens, but the model's context holds {context}"
    raise RecipeError.one("PROMPT-LENGTH", what, "n_shot", "lower n_shot")
