"""A conversation with tools and thoughts in Go's template language, as Ollama fills it in.

Ollama gives `.System`, `.Tools`, `.Messages` (with `.Role`, `.Content`, `.Thinking`, `.ToolCalls`), and, where the
asking program chose, `.IsThinkSet` and `.Think`. What is written is what our renderer writes.
"""

from __future__ import annotations

from collections.abc import Callable

from hone.dialogue.compile.go_tools import described, go_tools_refusal, literal, written
from hone.dialogue.template import Template

Fill = Callable[[str], str]
"""What stands in a slot's hole → the slot as text."""

SET_OFF, SET_ON = "(and $.IsThinkSet (not $.Think))", "(and $.IsThinkSet $.Think)"
AHEAD = (
    "{{ $rest := slice $.Messages $i }}{{ $last := eq (len $rest) 1 }}"
    '{{ $more := false }}{{ if not $last }}{{ $more = eq (index $rest 1).Role "tool" }}{{ end }}'
)
"""At each message: whether it is the last, and whether a tool's result follows."""


def talk(template: Template, slots: dict[str, Fill]) -> str:
    """The whole text; `slots` fill the card's slots by name."""
    tools = go_tools_refusal(template) is None
    opening = "{{ $.System }}" + (_described(template) if tools else "")
    told = "(or $.System $.Tools)" if tools else "$.System"
    system = slots["system"](opening)
    prefix = slots["prefix"]("")
    if template.system_in_user:
        before = prefix + "{{ $told := false }}"
        lead = f"{{{{ if and {told} (not $told) }}}}{system}{{{{ end }}}}{{{{ $told = true }}}}"
    else:
        before, lead = f"{prefix}{{{{ if {told} }}}}{system}{{{{ end }}}}", ""
    asked = slots["user"](lead + "{{ .Content }}") + _empty_to_continue(template)
    answered = _answered(template, slots, tools)
    results = f'{{{{ else if eq .Role "tool" }}}}{_results(template, slots, lead)}' if tools else ""
    roles = f'{{{{ if eq .Role "user" }}}}{asked}{results}{{{{ else if eq .Role "assistant" }}}}{answered}{{{{ end }}}}'
    return f"{before}{{{{ $joined := false }}}}{{{{ range $i, $_ := .Messages }}}}{AHEAD}{roles}{{{{ end }}}}"


def _described(template: Template) -> str:
    lines, text = described(template.tools or "")
    led = f"{{{{ if $.System }}}}{lines}{{{{ end }}}}" if template.trim_tools and lines else lines
    return f"{{{{ if $.Tools }}}}{led}{text}{{{{ end }}}}"


def _results(template: Template, slots: dict[str, Fill], lead: str) -> str:
    """Results that follow each other are one message: only the first opens it and only the last closes it."""
    opens, _, closes = slots["result"](lead + "\0").partition("\0")
    between = literal(template.words.results)
    return (
        f"{{{{ if $joined }}}}{between}{{{{ else }}}}{opens}{{{{ end }}}}{{{{ .Content }}}}{{{{ $joined = $more }}}}"
        f"{{{{ if not $more }}}}{closes}{_empty_to_continue(template)}{{{{ end }}}}"
    )


def _answered(template: Template, slots: dict[str, Fill], tools: bool) -> str:
    said = _thought(template) + "{{ .Content }}"
    answer = _empty_in_answer(template) + slots["assistant"](said)
    if not tools:
        return answer
    call = _empty_in_answer(template) + slots["call"](said + written(template.calls))
    return f"{{{{ if .ToolCalls }}}}{call}{{{{ else }}}}{answer}{{{{ end }}}}"


def _thought(template: Template) -> str:
    """An answer's thought: in the last answer unless thinking is off, in an earlier one if it is preserved."""
    opened, closed = map(literal, template.words.thought)
    text = f"{opened}{{{{ .Thinking }}}}{closed}"
    thinking = template.thinking
    if thinking is None:
        return f"{{{{ if .Thinking }}}}{text}{{{{ end }}}}"
    off = f"(not {SET_ON})" if thinking.enable is False else SET_OFF
    kept = f"or (not $last) (not {off})" if thinking.preserve else f"and $last (not {off})"
    return f"{{{{ if .Thinking }}}}{{{{ if {kept} }}}}{text}{{{{ end }}}}{{{{ end }}}}"


def _empty_to_continue(template: Template) -> str:
    """The empty thought with which a prompt ends where the model is not to think."""
    if template.thinking is None:
        return ""
    off = SET_OFF if template.thinking.enable else f"not {SET_ON}"
    return f"{{{{ if $last }}}}{{{{ if {off} }}}}{template.thinking.empty}{{{{ end }}}}{{{{ end }}}}"


def _empty_in_answer(template: Template) -> str:
    """The empty thought of a last answer that has none, where somebody chose."""
    if template.thinking is None:
        return ""
    off = f"(not {SET_ON})" if template.thinking.enable is False else SET_OFF
    bare = f"or (not .Thinking) {off}"
    chosen = "and $last $.IsThinkSet" if template.thinking.enable else "$last"
    return f"{{{{ if {chosen} }}}}{{{{ if {bare} }}}}{template.thinking.empty}{{{{ end }}}}{{{{ end }}}}"
