"""`hone template`: the cards at a glance, one card in full, and a card held against a tokenizer's own chat template."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hone.dialogue.compile.jinja import compile_jinja, jinja_refusal
from hone.dialogue.message import Conversation, Message, Text, ToolCall
from hone.dialogue.render import render_turns
from hone.dialogue.slots import Inked, Mark, Piece, Slot
from hone.dialogue.template import CARDS, Template, load_template, template_names
from hone.errors import Fault, HoneError, ModelError, RecipeError
from hone.log import result

USAGE = "hone template list [--json] | show NAME [--json] | compare NAME --tokenizer DIR [--json]"
DIFFERENT = 4
"""The exit code of a comparison that found a difference."""
LEARNED = ("⟦", "⟧")
"""What stands around learned text in a sample."""

SAMPLE = Conversation(
    (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("What is 2 + 2?"),)),
        Message("assistant", (ToolCall("add", {"a": 2, "b": 2}),)),
        Message("tool", (Text("4"),)),
        Message("assistant", (Text("Four."),)),
    )
)
"""A call and its result; shown without tools, whose description would fill the page."""


def run(words: Sequence[str]) -> int:
    """`hone template …`: 0 is well, 4 where a comparison finds a difference."""
    verbs: dict[str, Callable[[list[str], bool], int]] = {"list": _list, "show": _show, "compare": _compare}
    rest = [word for word in words if word != "--json"]
    if not rest or rest[0] not in verbs:
        raise _usage(f"no such thing to do: {rest[0]}" if rest else "say what to do")
    return verbs[rest[0]](rest[1:], "--json" in words)


def _usage(what: str) -> RecipeError:
    return RecipeError(Fault("CLI-TEMPLATE", f"hone template: {what}", "", f"usage: {USAGE}"))


def _list(words: list[str], as_json: bool) -> int:
    if words:
        raise _usage(f"list takes no `{words[0]}`")
    rows = [_row(load_template(name)) for name in template_names()]
    if as_json:
        result(json.dumps(rows, ensure_ascii=False, indent=2))
        return 0
    width = max(len(row["name"]) for row in rows)
    result(f"{'template':<{width}}  {'tools':<9}  thinks  chat template")
    for row in rows:
        thinks, made = "yes" if row["thinks"] else "no", row["jinja_refusal"] or "yes"
        result(f"{row['name']:<{width}}  {row['tools'] or 'none':<9}  {thinks:<6}  {made}")
    return 0


def _row(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "tools": template.tools,
        "thinks": template.thinking is not None,
        "stop": list(template.stop),
        "jinja_refusal": jinja_refusal(template),
    }


def _show(words: list[str], as_json: bool) -> int:
    if len(words) != 1:
        raise _usage("show takes one NAME")
    template = load_template(words[0])
    jinja = None if jinja_refusal(template) else compile_jinja(template)
    card, chain = settled(template), parents(template.name)
    if as_json:
        shown = {
            "name": template.name,
            "parents": chain,
            "card": card,
            "sample": sample(template),
            "chat_template": jinja,
        }
        result(json.dumps(shown, ensure_ascii=False, indent=2))
        return 0
    result(f"{template.name}" + "".join(f" → {parent}" for parent in chain))
    for key, value in card.items():
        result(f"  {key:<15} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    result(f"\nsample, what is learned between {' '.join(LEARNED)}:\n{sample(template)}")
    result(f"\nchat template:\n{jinja or 'none: ' + str(jinja_refusal(template))}")
    return 0


def parents(name: str) -> list[str]:
    """The cards that this one extends, nearest first."""
    table = tomllib.loads((CARDS / f"{name}.toml").read_text(encoding="utf-8"))
    parent = table.get("extends")
    return [parent, *parents(parent)] if parent else []


def settled(template: Template) -> dict[str, Any]:
    """The card's keys after its parents had their say, those that say nothing left out."""
    thinking, media = template.thinking, template.media
    keys: dict[str, Any] = {
        **{
            name: _spelled(getattr(template, name))
            for name in ("prefix", "system", "user", "assistant", "call", "result")
        },
        "tools": template.tools or "none",
        "calls": template.calls,
        "stop": list(template.stop),
        "default_system": template.default_system,
        "thinking": thinking and {"words": list(template.words.thought), "empty": thinking.empty},
        "media": {"family": media.family, **dict(media.tokens)} if media.tokens else None,
        "document_end": template.document_end,
    }
    flags = ("system_in_user", "replace_eos", "efficient_eos", "trim_tools", "replace_jinja")
    keys |= {name: True for name in flags if getattr(template, name)}
    return {name: value for name, value in keys.items() if value}


def _spelled(slot: Slot) -> list[Any]:
    """A slot as a card spells it."""
    return [
        ({"special": part.role} if part.role else {"token": part.token})
        if isinstance(part, Mark)
        else part.before + ("" if part.after is None else "{text}" + part.after)
        for part in slot
    ]


def sample(template: Template) -> str:
    """A conversation with a call, as it is trained; without one for families that cannot write it."""
    try:
        turns = render_turns(template, SAMPLE)
    except HoneError:
        turns = render_turns(template, Conversation((*SAMPLE.messages[:2], SAMPLE.messages[-1])))
    start, end = LEARNED
    return "".join(f"{_text(turn.source)}{start}{_text(turn.target)}{end}" for turn in turns)


def _text(pieces: Sequence[Inked]) -> str:
    return "".join(made.text if isinstance(made, Piece) else f"<{made.role or made.token}>" for made in pieces)


def _compare(words: list[str], as_json: bool) -> int:
    from hone.runs.template_comparison import as_table, compare

    if len(words) != 3 or words[1] != "--tokenizer":
        raise _usage("compare takes NAME --tokenizer DIR")
    template = load_template(words[0])
    found = compare(template, _tokenizer(words[2]))
    result(json.dumps([one.as_dict() for one in found], ensure_ascii=False, indent=2) if as_json else as_table(found))
    return 0 if all(one.equal or one.spelled for one in found) else DIFFERENT


def _tokenizer(place: str) -> Any:
    """The tokenizer of a model, or one alone in a folder. Raises `ModelError`."""
    from hone.models.tokenizer import load_tokenizer
    from hone.recipe import ModelSection

    folder = Path(place)
    if not (folder / "tokenizer.json").is_file() or (folder / "config.json").is_file():
        return load_tokenizer(ModelSection(model_name_or_path=place))
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError.one("TOKENIZER", f"the tokenizer cannot be read: {error}", str(folder)) from error
