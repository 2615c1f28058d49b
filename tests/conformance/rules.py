"""What Hone means where it differs on purpose: each rule turns what is recorded into what is to be there instead.

A case that differs is deliberate only if it is then equal, letter by letter. So a rule excuses nothing but itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

from corpus import cases, table

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import joined
from hone.dialogue.template import load_template
from hone.dialogue.tools import dialect

Case = dict[str, Any]
Rule = Callable[[Case], Case | None]
"""A case as it is meant, or None where the rule has no say."""

NO_ERROR = {"no error": True}
"""What is expected where an error was recorded that Hone does not make."""


def pieces_of(text: str, lengths: list[int]) -> list[str]:
    return [text[end - length : end] for length, end in zip(lengths, accumulate(lengths), strict=True)]


def with_pieces(case: Case, change: Callable[[list[str]], list[str]]) -> Case | None:
    """The case with each recorded piece changed; None if nothing changes."""
    expect = dict(case["expect"])
    if "segments" in expect:
        before = pieces_of("".join(one["text"] for one in expect["segments"]), expect["pieces"])
        after = change(before)
        places = list(accumulate(map(len, before)))
        segments, begin, place = [], 0, 0
        for one in expect["segments"]:
            place += len(one["text"])
            end = places.index(place) + 1
            segments.append({**one, "text": "".join(after[begin:end])})
            begin = end
        expect |= {"segments": segments, "pieces": [len(one) for one in after]}
    elif "prompt" in expect:
        for side in ("prompt", "response"):
            after = change(pieces_of(expect[side], expect[f"{side}_pieces"]))
            expect |= {side: "".join(after), f"{side}_pieces": [len(one) for one in after]}
    return None if expect == case["expect"] else {**case, "expect": expect}


def conversation_of(case: Case) -> list[dict[str, str]]:
    return list(case.get("messages") or table("conversations")[case["conversation"]]["messages"])


def text_stays(case: Case) -> Case | None:
    """Where `{{idx}}` became the number of the turn, the user's own text is put back."""
    asked = [(place // 2, one["content"]) for place, one in enumerate(conversation_of(case)) if one["role"] == "user"]
    waiting = [(text.replace("{{idx}}", str(turn)), text) for turn, text in asked if "{{idx}}" in text]

    def back(pieces: list[str]) -> list[str]:
        made = []
        for one in pieces:
            if waiting and waiting[0][0] in one:
                changed, text = waiting.pop(0)
                one = one.replace(changed, text)
            made.append(one)
        return made

    return with_pieces(case, back) if waiting else None


_GLM_CALL = re.compile(
    r"\n<tool_call>[^\n<{]+(?:\n<arg_key>[^<]*</arg_key>\n<arg_value>(?:(?!</arg_value>).)*</arg_value>)*", re.DOTALL
)
_SEED_CALL = re.compile(r"<function=([^\n<>]+)\n")
_INVOKED = re.compile(r'<invoke name="[^"]*">\n.*</invoke>', re.DOTALL)


def glm_closes(text: str) -> str:
    """Each call ends with its word, and the next one begins on the next line."""
    closed = _GLM_CALL.sub(lambda found: found[0] + "\n</tool_call>", text)
    return closed.replace("\n</tool_call>\n\n<tool_call>", "\n</tool_call>\n<tool_call>")


def seed_brackets(text: str) -> str:
    """The function's word has its bracket."""
    return _SEED_CALL.sub(r"<function=\1>\n", text)


def minimax_wraps(text: str) -> str:
    """The calls stand in the family's block."""
    return _INVOKED.sub(lambda found: f"<minimax:tool_call>\n{found[0]}\n</minimax:tool_call>", text)


CALLS = {"glm4_moe": glm_closes, "seed_oss": seed_brackets, "minimax2": minimax_wraps}


def history_has_no_ends(case: Case) -> Case | None:
    """With the history masked, the end of no answer in it is learned; the text and its pieces are the same."""
    expect = case["expect"]
    segments = expect.get("segments", [])
    if not case["options"].get("mask_history") or not any("first_token_label" in one for one in segments):
        return None
    learned = [one for one in segments if one["trained"]]
    given = "".join(one["text"] for one in segments if not one["trained"])
    return {**case, "expect": {**expect, "segments": [{"text": given, "trained": False}, *learned]}}


def calls_are_well_formed(case: Case) -> Case | None:
    """In the texts of a card: every piece but the one that describes the tools."""
    change = CALLS.get(load_template(case["template"]).calls)
    if change is None:
        return None
    return with_pieces(case, lambda pieces: [one if "</tools>" in one else change(one) for one in pieces])


def written_calls_are_well_formed(case: Case) -> Case | None:
    """In what a dialect writes."""
    change = CALLS.get(case["format"])
    if change is None or case["op"] != "format_call" or "text" not in case["expect"]:
        return None
    return {**case, "expect": {"text": change(case["expect"]["text"])}}


def words_are_kept(case: Case) -> Case | None:
    """An error for cards whose system text goes into the first question, and for no other card: none is expected."""
    kept = case["expect"].get("error", {}).get("message", "").startswith("Invalid JSON format in function message")
    fused = load_template(case["template"]).system_in_user
    return {**case, "expect": NO_ERROR} if kept and fused and readable_elsewhere(case["conversation"]) else None


@cache
def readable_elsewhere(conversation: str) -> bool:
    """Whether other cards write this conversation, so that nothing is wrong with it."""
    return any(
        case["conversation"] == conversation and "error" not in case["expect"]
        for case in cases("templates")
        if not load_template(case["template"]).system_in_user
    )


_WRAPPED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def all_wrapped_calls(case: Case, write: Callable[[str, str], dict[str, Any]]) -> Case | None:
    """Several wrapped calls are written as a list of them is; of the recorded text only the first was a call."""
    blocks = _WRAPPED.findall(case["input"])
    left_out = "".join(f"<tool_call>{block}</tool_call>" for block in blocks[1:])
    if case["op"] != "format_call" or len(blocks) < 2 or left_out not in case["expect"].get("text", ""):
        return None
    listed = "[" + ", ".join(block.strip().removeprefix("[").removesuffix("]") for block in blocks) + "]"
    front = _WRAPPED.sub("", case["input"])
    written = write(case["format"], listed)
    return {**case, "expect": {"text": front + written["text"]}}


def no_calls_is_text(case: Case) -> Case | None:
    """A list of no calls is what the model said: text."""
    empty = case["op"] == "extract" and case["expect"] == {"calls": []}
    return {**case, "expect": {"text": case["input"]}} if empty else None


def flat_tools(case: Case) -> Case | None:
    """A tool without an inner object was described as an empty text; its own fields are there instead."""
    if case["op"] != "describe_tools" or '""' not in case["expect"].get("text", ""):
        return None
    text = case["expect"]["text"]
    for tool in json.loads(case["input"]):
        if tool.get("type") == "function" and "function" not in tool:
            schema = {key: value for key, value in tool.items() if key != "type"}
            text = text.replace('""', json.dumps(schema, ensure_ascii=False), 1)
    return {**case, "expect": {"text": text}}


def strings_are_decoded(case: Case, read: Callable[[str, str], dict[str, Any]]) -> Case | None:
    """Gemma 4: raw text as arguments, in the family's own notation, is read: written again it is the text."""
    calls = case["expect"].get("calls")
    if case["op"] != "extract" or case["format"] != "gemma4" or not calls:
        return None
    found = read("gemma4", case["input"]).get("calls", [])
    raw = [call["arguments"] for call in calls]
    names = [call["name"] for call in calls]
    again = joined(dialect("gemma4").write([ToolCall(name, arguments) for name, arguments in found]))
    if [name for name, _ in found] != names or again not in case["input"] or not any('<|"|>' in text for text in raw):
        return None
    decoded = [{"name": name, "arguments": json.dumps(arguments)} for name, arguments in found]
    return {**case, "expect": {"calls": decoded}}


def meant(case: Case, *rules: Rule) -> Case | None:
    """The case after every rule that has a say; None if none has."""
    changed = case
    for rule in rules:
        changed = rule(changed) or changed
    return None if changed is case else changed


_GLM_PAIR = re.compile(r"\s*<arg_key>([^<]+)</arg_key>\s*<arg_value>((?:(?!</arg_value>).)*)</arg_value>", re.DOTALL)
_GLM_BLOCK = re.compile(rf"<tool_call>([^\s<>]+)((?:{_GLM_PAIR.pattern})*)\s*</tool_call>", re.DOTALL)


def own_calls_are_read(case: Case) -> Case | None:
    """GLM-4.5's own form was text, and Seed-OSS's bracket a letter of the function's name."""
    if case["op"] != "extract":
        return None
    expect = case["expect"]
    if case["format"] == "seed_oss" and any(call["name"].endswith(">") for call in expect.get("calls", ())):
        return {**case, "expect": {"calls": [{**one, "name": one["name"].rstrip(">")} for one in expect["calls"]]}}
    blocks = list(_GLM_BLOCK.finditer(case["input"])) if case["format"] == "glm4_moe" and "text" in expect else []
    calls = [{"name": one[1], "arguments": json.dumps(_glm_values(one[2]))} for one in blocks]
    return {**case, "expect": {"calls": calls}} if calls else None


def _glm_values(text: str) -> dict[str, Any]:
    made = {}
    for key, value in _GLM_PAIR.findall(text):
        try:
            made[key.strip()] = json.loads(value)
        except ValueError:
            made[key.strip()] = value.strip()
    return made
