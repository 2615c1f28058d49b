"""Every card against the corpus: the text of every piece, where the pieces end, and what is trained."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import rules
from corpus import Tally, cases, needs_corpus, table

from hone.dialogue.message import Conversation
from hone.dialogue.render import render_answer, render_turns
from hone.dialogue.slots import Inked, Piece
from hone.dialogue.template import Template, load_template, template_names
from hone.dialogue.tools import llama3
from hone.dialogue.wording import read_conversation
from hone.errors import HoneError

FAMILY = "templates"
EOS = '{"eos"}'
SPANS = {"bos": '{"bos"}', "eos": EOS}


def words_of(made: Inked) -> str:
    if isinstance(made, Piece):
        return made.text
    return SPANS[made.role] if made.role else made.token


def template_of(case: dict[str, Any]) -> Template:
    options = {key: value for key, value in case["options"].items() if key not in ("mask_history", "train_on_prompt")}
    return load_template(case["template"]).with_options(**options)


def conversation_of(case: dict[str, Any], template: Template) -> Conversation:
    kept = table("conversations")[case["conversation"]]
    messages = case.get("messages") or kept["messages"]
    return read_conversation(messages, template.words, system=kept["system"], tools=kept["tools"])


def trained(template: Template, conversation: Conversation, options: dict[str, Any]) -> dict[str, Any]:
    """The supervised form as the corpus writes it: neighbouring text of the same kind is one segment."""
    mask_history, on_prompt = options.get("mask_history", False), options.get("train_on_prompt", False)
    if template.efficient_eos and on_prompt:
        return {"error": "train_on_prompt"}
    turns = render_turns(template, conversation, mask_history=mask_history)
    flat: list[tuple[str, bool, str | None]] = []
    for number, turn in enumerate(turns):
        given = [words_of(made) for made in turn.source]
        # The end of an answer that is learned; what ends the last one stands at the end.
        marker = EOS if template.efficient_eos and number and not mask_history else None
        flat.append(("".join(given), on_prompt, marker))
        learned = not mask_history or number == len(turns) - 1
        flat.append(("".join(words_of(made) for made in turn.target), learned, None))
    if template.efficient_eos:
        flat.append((EOS, True, None))
    pieces = [words_of(made) for turn in turns for side in turn for made in side]
    return {
        "segments": segments(flat),
        "pieces": [len(one) for one in [*pieces, *([EOS] if template.efficient_eos else [])]],
    }


def segments(flat: list[tuple[str, bool, str | None]]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for text, learned, marker in flat:
        if not text:
            continue
        if merged and merged[-1]["trained"] == learned and marker is None:
            merged[-1]["text"] += text
        else:
            merged.append({"text": text, "trained": learned} | ({"first_token_label": marker} if marker else {}))
    return merged


def asked(template: Template, conversation: Conversation) -> dict[str, Any]:
    """The one-turn form."""
    turn = render_answer(template, conversation)
    given, answer = [words_of(made) for made in turn.source], [words_of(made) for made in turn.target]
    if template.efficient_eos:
        answer.append(EOS)
    return {
        "prompt": "".join(given),
        "response": "".join(answer),
        "prompt_pieces": [len(one) for one in given],
        "response_pieces": [len(one) for one in answer],
    }


RULES = (rules.history_has_no_ends, rules.text_stays, rules.calls_are_well_formed, rules.words_are_kept)


def explained(case: dict[str, Any]) -> bool:
    """Whether the rules turn what is recorded into what is written."""
    meant = rules.meant(case, *RULES)
    return meant is not None and fault(meant) is None


def fault(case: dict[str, Any]) -> str | None:
    template, want = template_of(case), dict(case["expect"])
    want.pop("single_id_tokens", None)
    try:
        conversation = conversation_of(case, template)
        got = (
            trained(template, conversation, case["options"]) if case["mode"] == "sft" else asked(template, conversation)
        )
    except HoneError as error:
        return None if "error" in want else f"{error} where {want} was expected"
    if "error" in want:
        return None if "error" in got else f"{got} where {want} was expected"
    if want == rules.NO_ERROR:
        return None
    return None if got == want else f"\n  got  {got}\n  want {want}"


@needs_corpus
@pytest.mark.parametrize("name", sorted({case["template"] for case in cases(FAMILY)}))
def test_a_card_writes_what_is_recorded(name: str, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama3, "today", lambda: datetime.date(2026, 1, 2))
    faults = []
    for case in (case for case in cases(FAMILY) if case["template"] == name):
        if name in template_names():
            wrong = fault(case)
            on_purpose = wrong is not None and explained(case)
            faults.append(tally.judge(FAMILY, case["id"], wrong, explained=on_purpose))
        else:
            tally.record(FAMILY, case["id"], "not built")
    assert "\n".join(filter(None, faults)) == ""
