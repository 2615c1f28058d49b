"""How `hone eval` asks: letters, whole options by their likelihood, or answers that the model writes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import DataError, RecipeError
from hone.log import say
from hone.recipe import Recipe

if TYPE_CHECKING:
    from hone.engines.session import Session
    from hone.evals.choice import Question
    from hone.evals.tables import Subject
    from hone.evals.tasks import Task

Record = Callable[[int, str], None]
"""Takes the number of a question and what was said to it."""


@dataclass(frozen=True)
class Work:
    """A subject's questions: the right answers, what decides the prompts (`mark`), and how questions are asked."""

    key: str
    wanted: Sequence[str]
    mark: str
    ask: Callable[[Sequence[int], Record], None]


def letters_of(recipe: Recipe, session: Session, subject: Subject) -> Work:
    """The letter that is likeliest after each prompt; the worked examples are drawn once for the whole subject."""
    from hone.engines.letters import choose_tokens

    encoder = session.encoder
    prompts = letter_prompts(recipe, encoder, subject)
    tokenizer: Any = encoder.tokenizer
    letters = [list(question.options) for question in subject.questions]
    ids = {letter: tokenizer.encode(letter, add_special_tokens=False)[-1] for row in letters for letter in row}

    def ask(missing: Sequence[int], note: Record) -> None:
        allowed = [[ids[letter] for letter in letters[number]] for number in missing]
        choose_tokens(
            session.engine.model,  # type: ignore[attr-defined]
            [prompts[number] for number in missing],
            allowed,
            rows=recipe.evaluation.batch_size,
            done=lambda place, choice: note(missing[place], letters[missing[place]][choice]),
        )

    _refuse_long(subject.key, prompts, session.engine.context)
    mark = hashlib.sha256(repr((prompts, letters)).encode()).hexdigest()
    return Work(subject.key, [question.answer for question in subject.questions], mark, ask)


def letter_prompts(recipe: Recipe, encoder: Any, subject: Subject) -> list[list[int]]:
    """The ids that ask each question of a subject."""
    from hone.dialogue.message import Conversation
    from hone.evals.choice import conversation, drawn

    wanted = recipe.evaluation
    examples = drawn(subject.examples, wanted.n_shot, seed=recipe.training.seed)
    prompts = []
    for question in subject.questions:
        whole = conversation(question, examples, subject=subject.name, language=wanted.lang)
        prompts.append(encoder.prompt(Conversation(whole.messages[:-1])))
    return prompts


def likelihoods_of(recipe: Recipe, session: Session, task: Task, subject: Subject) -> Work:
    """The option that is likeliest as a whole after each prompt."""
    from hone.dialogue.message import Conversation, Message, Text
    from hone.engines.likelihood import score_options
    from hone.evals.choice import drawn

    def turns(question: Question) -> tuple[Message, Message]:
        answer = task.option.replace("{option}", question.options[question.answer])
        asked = Message("user", (Text(task.prompt.replace("{question}", question.text)),))
        return asked, Message("assistant", (Text(answer),))

    encoder = session.encoder
    tokenizer: Any = encoder.tokenizer
    shots = [
        turn
        for one in drawn(subject.examples, recipe.evaluation.n_shot, seed=recipe.training.seed)
        for turn in turns(one)
    ]
    prompts = [encoder.prompt(Conversation((*shots, turns(question)[0]))) for question in subject.questions]
    letters = [list(question.options) for question in subject.questions]
    texts = [list(question.options.values()) for question in subject.questions]
    ids = [
        [tokenizer.encode(task.option.replace("{option}", text), add_special_tokens=False) for text in row]
        for row in texts
    ]

    def ask(missing: Sequence[int], note: Record) -> None:
        def told(place: int, sums: list[float]) -> None:
            number = missing[place]
            lengths = [max(len(text), 1) if task.normalize == "characters" else 1 for text in texts[number]]
            odds = [value / length for value, length in zip(sums, lengths, strict=True)]
            note(number, letters[number][odds.index(max(odds))])

        score_options(
            session.engine.model,  # type: ignore[attr-defined]
            [prompts[number] for number in missing],
            [ids[number] for number in missing],
            rows=recipe.evaluation.batch_size,
            done=told,
        )

    whole = [[*prompt, *max(row, key=len)] for prompt, row in zip(prompts, ids, strict=True)]
    _refuse_long(subject.key, whole, session.engine.context)
    mark = hashlib.sha256(repr((prompts, ids, task.normalize)).encode()).hexdigest()
    return Work(subject.key, [question.answer for question in subject.questions], mark, ask)


def written_of(session: Session, task: Task) -> Work:
    """What is found in a greedy answer; it is right when it equals what is found in the row's own."""
    from hone.dialogue.message import Conversation, Message, Text
    from hone.engines.base import Settings
    from hone.engines.rows import answer_rows
    from hone.evals.tasks import found_answer

    whole = _rows(task.test)
    keys = {task.question, task.answer}
    rows = [row for row in whole if keys <= set(row) and found_answer(task, str(row[task.answer]))]
    if len(rows) < len(whole):
        say(f"{len(whole) - len(rows):,} rows without a question or an answer were left out")
    encoder = session.encoder
    asked = [task.prompt.replace("{question}", str(row[task.question])) for row in rows]
    prompts = [encoder.prompt(Conversation((Message("user", (Text(text),)),))) for text in asked]
    settings = Settings(do_sample=False, max_new_tokens=task.max_new_tokens, stop_ids=encoder.stop_ids, elastic=True)
    tokenizer: Any = encoder.tokenizer

    def ask(missing: Sequence[int], note: Record) -> None:
        todo = {number: prompts[number] for number in missing}
        for answer in answer_rows(session.engine, todo, settings, side_by_side=32):
            text = tokenizer.decode(answer.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            note(answer.row, found_answer(task, text))

    _refuse_long(task.name, prompts, session.engine.context)
    wanted = [found_answer(task, str(row[task.answer])) for row in rows]
    return Work(task.name, wanted, hashlib.sha256(repr((prompts, task)).encode()).hexdigest(), ask)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    from hone.data.row import Row
    from hone.data.sources import files_at, read_rows

    try:
        return [one.value for one in read_rows(files_at(path)) if isinstance(one, Row) and isinstance(one.value, dict)]
    except OSError as reason:
        raise DataError.one("EVAL-TASK", f"cannot be read ({reason.strerror or reason})", str(path)) from None


def _refuse_long(subject: str, prompts: Sequence[Sequence[int]], context: int | None) -> None:
    longest = max(map(len, prompts), default=0)
    if context is not None and longest >= context:
        what = f"a question of {subject} has {longest} tokens, but the model's context holds {context}"
        raise RecipeError.one("PROMPT-LENGTH", what, "n_shot", "lower n_shot")
