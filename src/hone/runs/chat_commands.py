"""What a line that begins with `/` does in `hone chat`: the conversation is forgotten, told how to go on, or saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hone.dialogue.message import Media, Message, Text, Thought
from hone.log import say
from hone.media.open import MediaFault
from hone.runs.chat_pictures import as_part, read_picture

HELP = """\
/system TEXT   how the model should behave; without a text it is taken away
/clear         forget the conversation (also: clear)
/adapter NAME  answer with this adapter (`/adapter off`: with the model itself); without a name they are listed
/image FILE    show a picture with the next question
/save FILE     write the conversation as JSON
/help          this list
/exit          leave (also: exit)
A message of several lines stands between two lines of three quotes (\"\"\"),
or has a backslash at the end of each line but the last."""
BLOCK = '"""'


@dataclass
class Talk:
    """What was said so far, and who answers. `over` is true once the user has left.

    `pictures` wait for the next question; `blind` says why an adapter, or the model itself, can be shown none.
    """

    system: str = ""
    history: tuple[Message, ...] = ()
    over: bool = False
    adapters: tuple[str, ...] = ()
    adapter: str | None = None
    pictures: tuple[Media, ...] = ()
    blind: Callable[[str | None], str] = lambda _adapter: ""

    def asked(self, text: str) -> tuple[Message, ...]:
        """The messages with a new question, and the pictures that wait for it."""
        return (*self.history, Message("user", (*self.pictures, Text(text))))

    def whole(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The same with the system prompt before them."""
        return (Message("system", (Text(self.system),)), *messages) if self.system else messages


def obey(line: str, talk: Talk) -> bool:
    """Do what the line commands; False if it is a message to the model."""
    word, _, rest = line.partition(" ")
    command = {"clear": "/clear", "exit": "/exit"}.get(line, word)
    if not command.startswith("/") or "/" in command[1:] or not command[1:].isalpha():
        return False
    act = COMMANDS.get(command)
    if act is None:
        say(f"There is no command {command}. {HELP}")
    else:
        act(talk, rest.strip())
    return True


def joined(ask: Callable[[str | None], str]) -> str:
    """A message, of several lines if the user wants it. Raises EOFError where the input ends before it begins."""
    line = ask(None)
    if line == BLOCK:
        return "\n".join(_until_closed(ask)).strip()
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        try:
            lines.append(ask("... "))
        except EOFError:
            break
    return "\n".join(lines).strip()


def _until_closed(ask: Callable[[str | None], str]) -> list[str]:
    lines: list[str] = []
    while True:
        try:
            line = ask("... ")
        except EOFError:
            return lines
        if line == BLOCK:
            return lines
        lines.append(line)


def _clear(talk: Talk, _rest: str) -> None:
    talk.history = talk.pictures = ()
    say("The conversation is forgotten.")


def _system(talk: Talk, rest: str) -> None:
    talk.system = rest
    say("The system prompt is set." if rest else "There is no system prompt any more.")


def _adapter(talk: Talk, rest: str) -> None:
    if not talk.adapters:
        say("No adapter has a name: hone chat … adapter_name_or_path=one=FOLDER,two=FOLDER")
    elif not rest:
        listed = [f"{'*' if name == talk.adapter else ' '} {name}" for name in talk.adapters]
        say("\n".join([*listed, f"{' ' if talk.adapter else '*'} off (the model itself)"]))
    elif rest in talk.adapters or rest == "off":
        talk.adapter = rest if rest in talk.adapters else None
        say(f"Answers come from {f'the adapter {rest}' if talk.adapter else 'the model itself'} now.")
    else:
        say(f"There is no adapter {rest}; there are {', '.join(talk.adapters)}.")


def _image(talk: Talk, rest: str) -> None:
    reason = talk.blind(talk.adapter)
    if reason or not rest:
        say(f"No picture can be shown here: {reason}." if reason else "Name a file: /image picture.png")
        return
    try:
        talk.pictures = (*talk.pictures, read_picture(rest))
    except MediaFault as fault:
        say(f"No picture was taken: {fault.what}.")
    else:
        say(f"The next question has {len(talk.pictures)} picture{'s' * (len(talk.pictures) > 1)}.")


def _save(talk: Talk, rest: str) -> None:
    if not rest:
        say("Name a file: /save conversation.json")
        return
    messages = [_written(message) for message in talk.whole(talk.history)]
    text = json.dumps({"messages": messages}, ensure_ascii=False, indent=2) + "\n"
    try:
        with Path(rest).expanduser().open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        say(f"{rest} is there already; name another file.")
    except OSError as error:
        say(f"{rest} cannot be written: {error.strerror}")
    else:
        say(f"{len(messages)} messages are saved in {rest}.")


def _written(message: Message) -> dict[str, object]:
    thought = "".join(part.text for part in message.parts if isinstance(part, Thought))
    calls = [
        {"type": "function", "function": {"name": one.name, "arguments": json.dumps(one.arguments, ensure_ascii=False)}}
        for one in message.calls
    ]
    more = {"reasoning_content": thought, "tool_calls": calls}
    pictures = [as_part(part) for part in message.parts if isinstance(part, Media)]
    said = [*pictures, {"type": "text", "text": message.text}] if pictures else message.text
    return {"role": message.role, "content": said, **{key: value for key, value in more.items() if value}}


def _leave(talk: Talk, _rest: str) -> None:
    talk.over = True


COMMANDS: dict[str, Callable[[Talk, str], None]] = {
    "/clear": _clear,
    "/system": _system,
    "/save": _save,
    "/image": _image,
    "/adapter": _adapter,
    "/help": lambda _talk, _rest: say(HELP),
    "/exit": _leave,
}
