"""A card as an Ollama Modelfile: the conversation in Go's template language, the default system text and the stops.

Cards that think, or whose tools Go can write, get the long form (`go_talk`). The others get the short one, with system,
user and assistant messages: Ollama then says of the model that it has no tools, which is true of what it writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

from hone.dialogue.compile.go_talk import Fill, talk
from hone.dialogue.compile.go_tools import go_tools_refusal, literal
from hone.dialogue.compile.jinja import jinja_refusal
from hone.dialogue.slots import BOS, EOS, Hole, Slot
from hone.dialogue.template import Template
from hone.errors import Fault, ModelError

CONTEXT = 4096
"""Tokens of context that a Modelfile asks for, unless told otherwise."""


def modelfile(template: Template, *, bos: str, eos: str, context: int = CONTEXT, short: bool = False) -> str:
    """The whole file; `bos` and `eos` are the tokenizer's own tokens as text, empty where it has none.

    `short` leaves tools and thoughts out for a card that could write them.

    Raises `ModelError` (TEMPLATE-COMPILE) for a card that cannot be written so.
    """
    end = template.stop[0] if template.replace_eos and template.stop else eos
    written = compile_go(template, bos=bos, eos=end, short=short)
    if '"""' in written + template.default_system:
        raise _refused(template, "three quotes end a text of a Modelfile")
    default = f'SYSTEM """{template.default_system}"""\n\n' if template.default_system else ""
    stops = dict.fromkeys(word for word in (end, *template.stop) if word)
    lines = "".join(f"PARAMETER stop {json.dumps(word, ensure_ascii=False)}\n" for word in stops)
    head = f'# the template {template.name}, written by Hone\n\nFROM .\n\nTEMPLATE """{written}"""\n\n'
    return f"{head}{default}{lines}PARAMETER num_ctx {context}\n"


def compile_go(template: Template, *, bos: str = "", eos: str = "", short: bool = False) -> str:
    """The conversation as a Go template. Raises `ModelError` (TEMPLATE-COMPILE) where tokens are placed by id."""
    reason = jinja_refusal(template)
    if reason is not None:
        raise _refused(template, reason)

    marks = {BOS: bos, EOS: eos}
    names = ("prefix", "system", "user", "assistant", "call", "result")
    slots: dict[str, Fill] = {name: partial(_slot, getattr(template, name), marks) for name in names}
    long = template.thinking is not None or go_tools_refusal(template) is None
    return talk(template, slots) if long and not short else _short(template, slots)


def _short(template: Template, slots: dict[str, Fill]) -> str:
    """System, user and assistant messages."""
    prefix = slots["prefix"]("")
    system = slots["system"]("{{ $.System }}" if template.system_in_user else "{{ .System }}")
    if template.system_in_user:  # the first question is the first message or the second, so a variable remembers it
        before = prefix + "{{ $told := false }}"
        lead = f"{{{{ if and $.System (not $told) }}}}{system}{{{{ end }}}}{{{{ $told = true }}}}"
    else:
        before, lead = f"{prefix}{{{{ if .System }}}}{system}{{{{ end }}}}", ""
    user, answer = slots["user"](lead + "{{ .Content }}"), slots["assistant"]("{{ .Content }}")
    asked, answered = '{{ if eq .Role "user" }}', '{{ else if eq .Role "assistant" }}'
    return f"{before}{{{{ range .Messages }}}}{asked}{user}{answered}{answer}{{{{ end }}}}{{{{ end }}}}"


def _slot(slot: Slot, marks: Mapping[str, str], content: str) -> str:
    """A slot as text, `content` in its holes."""
    text = ""
    for part in slot:
        if isinstance(part, Hole):
            text += literal(part.before) + ("" if part.after is None else content + literal(part.after))
        else:
            text += marks[part.role]
    return text


def _refused(template: Template, reason: str) -> ModelError:
    return ModelError(Fault("TEMPLATE-COMPILE", f"no Modelfile can be made: {reason}", template.name))
