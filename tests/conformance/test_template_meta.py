"""What each card says of itself: stop words, end token, thought and tool words, dialects, media tokens."""

from __future__ import annotations

from typing import Any

from corpus import Tally, cases, needs_corpus

from hone.dialogue.template import Template, load_template, template_names

FAMILY = "template_meta"
KINDS = {
    "system_fused_into_first_user",
    "reasoning",
    "reasoning_close_tag_only",
    "standard_tools_without_leading_newline",
}


def kind(template: Template) -> str:
    if template.thinking is not None:
        whole = template.thinking.empty.startswith(template.words.thought[0])
        return "reasoning" if whole else "reasoning_close_tag_only"
    if template.trim_tools:
        return "standard_tools_without_leading_newline"
    return "system_fused_into_first_user" if template.system_in_user else "standard"


def facts(template: Template) -> dict[str, Any]:
    return {
        "kind": kind(template),
        "default_system": template.default_system,
        "stop_words": list(template.stop),
        "replace_eos": template.replace_eos,
        "efficient_eos": template.efficient_eos,
        "replace_jinja_template": template.replace_jinja,
        "thought_words": list(template.words.thought),
        "tool_call_words": list(template.words.call),
        "enable_thinking_default": template.thinking.enable if template.thinking else True,
        "preserve_thinking_default": template.thinking.preserve if template.thinking else False,
        "tool_format": None if template.tools == "phi4" else template.tools,  # a dialect of ours, a wrapper there
        "function_format": template.calls,
        "eos_after_fix": template.stop[0] if template.replace_eos else '{"eos"}',
        "extra_special_tokens_added": list(template.stop[template.replace_eos :]),
        "stop_token_set": sorted({*template.stop, '{"eos"}'}),
        "mm": media(template),
    }


def media(template: Template) -> dict[str, str | None]:
    given = {"plugin": template.media.family, "image_token": None, "video_token": None, "audio_token": None}
    return given | {f"{name}_token": token for name, token in template.media.tokens}


@needs_corpus
def test_cards_say_what_the_corpus_says(tally: Tally) -> None:
    faults = []
    for case in cases(FAMILY):
        if case["id"] not in template_names():
            tally.record(FAMILY, case["id"], "not built")
            continue
        mine = facts(load_template(case["id"]))
        wrong = {key: (mine[key], case[key]) for key in mine if mine[key] != case[key]}
        faults.append(tally.judge(FAMILY, case["id"], str(wrong) if wrong else None))
    assert not [fault for fault in faults if fault]
