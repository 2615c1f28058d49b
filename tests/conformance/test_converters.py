"""How a row becomes a record, whatever its format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corpus import Tally, cases, needs_corpus

from hone.data.book import Entry, look_up
from hone.data.formats import load_format
from hone.data.row import RowFault
from hone.dialogue.message import Conversation, Media, Message, Text, ToolCall
from hone.dialogue.records import Chat, Feedback, Preference, Record
from hone.dialogue.wording import write_message
from hone.errors import DataError

FAMILY = "converters"
KINDS = ("image", "video", "audio")
VENDOR_WORDS = "detailed thinking off"


def aligned(record: Record) -> dict[str, Any]:
    """A record of ours in the corpus's shape."""
    prompt, responses = sides(record)
    asked = [message for message in prompt.messages if message.role != "system"]
    return {
        "_prompt": [written(message) for message in asked],
        "_response": [written(message) for message in responses],
        "_system": prompt.system or "",
        "_tools": [dict(tool) for tool in prompt.tools],
        **{f"_{kind}s": media_of(prompt, kind) for kind in KINDS},
    }


def sides(record: Record) -> tuple[Conversation, list[Message]]:
    empty = Message("assistant", (Text(""),))
    if isinstance(record, Preference):
        return record.prompt, [record.chosen, record.rejected]
    assert isinstance(record, Chat | Feedback)
    messages = record.conversation.messages
    answered = bool(messages) and messages[-1].role == "assistant"
    prompt = Conversation(messages[:-1] if answered else messages, record.conversation.tools)
    responses = list(messages[-1:]) if answered else []
    if isinstance(record, Feedback):
        responses = [*responses, empty] if record.good else [empty, *responses]
    return prompt, responses


def written(message: Message) -> dict[str, Any]:
    parts = tuple(Text(f"<{part.kind}>") if isinstance(part, Media) else part for part in message.parts)
    text = write_message(Message(message.role, parts))
    if message.calls:
        calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
        before = write_message(Message("assistant", tuple(p for p in parts if not isinstance(p, ToolCall))))
        return {"role": "function", "content": (before, calls)}
    return {"role": {"tool": "observation"}.get(message.role, message.role), "content": text}


def media_of(conversation: Conversation, kind: str) -> list[Any]:
    return [
        part.source
        for message in conversation.messages
        for part in message.parts
        if isinstance(part, Media) and part.kind == kind
    ]


def as_expected(record: dict[str, Any], media_dir: str = "{media_dir}") -> dict[str, Any]:
    """The corpus's record, less what has no meaning: blanks of several kinds, and where a medium was found."""
    tools = record["_tools"]
    tools = json.loads(tools) if isinstance(tools, str) and tools else tools or []
    messages = {side: [normal(message) for message in record[side]] for side in ("_prompt", "_response")}
    media = {
        f"_{kind}s": [source.replace(f"{media_dir}/", "") for source in record[f"_{kind}s"] or []] for kind in KINDS
    }
    return {
        **messages,
        "_system": record["_system"] or "",
        "_tools": [tools] if isinstance(tools, dict) else tools,
        **media,
    }


def normal(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    if message["role"] != "function":
        return {**message, "content": content}
    calls = json.loads(content)
    calls = calls if isinstance(calls, list) else [calls]
    return {
        "role": "function",
        "content": ("", [{"name": call["name"], "arguments": call["arguments"]} for call in calls]),
    }


def converted(case: dict[str, Any]) -> Record | RowFault | DataError:
    try:
        entry: Entry = look_up(["x"], {"x": case["dataset_info_entry"]})[0]
        return load_format(entry.formatting)(case["row"], entry)
    except (RowFault, DataError) as fault:
        return fault


def judged(case: dict[str, Any]) -> tuple[str | None, bool]:
    """What is wrong, and whether it differs on purpose."""
    found = converted(case)
    expect = case["expect"]
    if "error" in expect or expect["skipped_as_broken"]:
        # A missing optional key is simply missing; a crash of the corpus only asks for something better.
        fine = isinstance(found, RowFault | DataError) or expect.get("error", {}).get("incidental")
        return (None if fine else f"no fault, but {found}"), False
    if isinstance(found, RowFault | DataError):
        return str(found), refused_on_purpose(case, str(found))
    got, wanted = aligned(found), as_expected(expect["record"])
    if case["id"].startswith("openai/"):
        wanted["_system"], differs = without_vendor_words(wanted["_system"], got["_system"])
        spoken, got["_prompt"] = got["_prompt"], [silent_call(message) for message in got["_prompt"]]
        differs = differs or spoken != got["_prompt"]
        return (None if got == wanted else f"{got}, not {wanted}"), differs and got == wanted
    return (None if got == wanted else f"{got}, not {wanted}"), False


def refused_on_purpose(case: dict[str, Any], fault: str) -> bool:
    """Rows that the corpus takes and that are faults here, by what the fault says: a call without a name, media
    without places (or the other way round), frames, a history that is no list, a ranked row without answers."""
    row, entry = case["row"], case["dataset_info_entry"]
    columns = entry.get("columns", {})
    text = json.dumps([value for key, value in row.items() if key not in ("images", "videos", "audios")])
    media = {kind: row.get(columns.get(f"{kind}s", "")) or [] for kind in KINDS}
    counts = {kind: 1 if isinstance(value, str) else len(value) for kind, value in media.items()}
    misplaced = any(counts[kind] != text.count(f"<{kind}>") for kind in KINDS) and any(counts.values())
    frames = any(isinstance(item, list) for value in media.values() for item in value)
    history = columns.get("history") and not isinstance(row.get("history"), list | None)
    unranked = entry.get("ranking") and not (row.get("chosen") and row.get("rejected"))
    nameless = '\\"name\\"' not in text and any(
        message.get("role", message.get("from")) in ("call", "function_call") for message in row.get("messages") or []
    )
    said = {
        "in the messages, but": misplaced,
        "is not a list of paths": frames,
        "`history` is": history,
        "is missing, not a message": unranked,
        "a function message is not JSON": nameless,
    }
    return any(words in fault and applies for words, applies in said.items())


def silent_call(message: dict[str, Any]) -> dict[str, Any]:
    """The corpus loses what is said beside `tool_calls`; Hone keeps it."""
    return {**message, "content": ("", message["content"][1])} if message["role"] == "function" else message


def without_vendor_words(wanted: str, got: str) -> tuple[str, bool]:
    """The corpus adds a sentence, or a newline, to the system text of every row in this format; Hone does not."""
    plain = wanted.removesuffix("\n" + VENDOR_WORDS)
    plain = "" if plain == VENDOR_WORDS else plain
    plain = plain.removesuffix("\n") if got == plain.removesuffix("\n") else plain
    return plain, plain != wanted


@needs_corpus
def test_rows_become_the_records_of_the_corpus(tally: Tally, tmp_path: Path) -> None:
    faults = []
    for case in cases(FAMILY):
        fault, on_purpose = judged(case)
        if on_purpose:
            tally.record(FAMILY, case["id"], "deliberate")
        else:
            faults.append(tally.judge(FAMILY, case["id"], fault))
    assert not [fault for fault in faults if fault]
