"""`hone chat`: talk with a model in the terminal, answers shown as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

from hone.dialogue.message import Conversation
from hone.engines.base import PromptTooLongError, Settings
from hone.engines.session import Session
from hone.errors import DataError
from hone.log import say
from hone.recipe import Recipe, read_recipe
from hone.runs.chat_commands import Talk, joined, obey
from hone.runs.terminal import Writer

WELCOME = "`clear` forgets the conversation, `exit` leaves, /help tells more, Ctrl-C stops an answer."


def run(words: Sequence[str]) -> int:
    """Read the recipe, load the model, talk. Returns the exit code."""
    recipe = read_recipe(words, verb="chat")

    from hone.runs.session import open_session  # heavy, and only for a recipe without faults

    session = open_session(recipe, slots=1, by_name=True)
    say(f"Chat with {recipe.model.model_name_or_path}. {WELCOME}")
    if session.encoders:
        say(f"Answers come from the adapter {next(iter(session.encoders))}; /adapter lists them all and changes it.")
    talk(session, settings_of(recipe, session.encoder.stop_ids), Writer(session.encoder.template.words.thought))
    return 0


def settings_of(recipe: Recipe, stop_ids: Sequence[int]) -> Settings:
    """How to answer, as the recipe says; the draws are repeatable where it names a seed."""
    return Settings.of(
        recipe.generating,
        stop_ids=stop_ids,
        seed=recipe.training.seed if "seed" in recipe.given else None,
        elastic=not {"max_new_tokens", "max_length"} & recipe.given,
    )


def talk(session: Session, settings: Settings, writer: Writer) -> None:
    """Answer message by message until `exit` or the end of the input; Ctrl-C at the prompt is left to the caller."""
    said = Talk(adapters=tuple(session.encoders), adapter=next(iter(session.encoders), None), blind=session.blindness)
    turns = count()
    for line in _messages(writer, said):
        asked = said.asked(line)
        turn = settings if settings.seed is None else replace(settings, seed=settings.seed + next(turns))
        if said.adapter is not None:
            stops = tuple(session.encoder_of(said.adapter).stop_ids)
            turn = replace(turn, adapter=said.adapter, stop_ids=stops)
        try:
            reply = session.say(Conversation(said.whole(asked)), turn)
        except PromptTooLongError as fault:
            say(f"{fault}; or `clear` the conversation")
            continue
        except DataError as fault:
            said.pictures = ()
            say(str(fault))
            continue
        writer.answer(reply)
        said.history, said.pictures = (*asked, reply.message), ()


def _messages(writer: Writer, said: Talk) -> Iterator[str]:
    """What the user asks, until `exit` or the end of the input; commands are obeyed. An empty line is no question."""
    while not said.over:
        try:
            line = joined(writer.ask)
        except EOFError:
            return
        if not line:
            say("Nothing was asked: type a message, `clear`, or `exit`.")
        elif not obey(line, said):
            yield line
