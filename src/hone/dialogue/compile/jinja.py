"""A card as a Jinja `chat_template`: rendering it gives the text that our own renderer writes.

Every literal is printed by an expression and every tag strips the white space around it, so that the text does not
depend on how an environment treats blocks. What Jinja cannot keep apart, it does not: control words typed by a user are
control tokens to whoever tokenises a rendered text in one go.
"""

from __future__ import annotations

import json

from hone.dialogue.compile.jinja_tools import calling, describing, quoted
from hone.dialogue.slots import BOS, Hole, Mark, Slot
from hone.dialogue.template import Template
from hone.errors import ModelError

WORDS = r"""
{%- macro words(content, unled) -%}
{%- if content is string -%}
{{- content.lstrip('\n') if unled else content -}}
{%- elif content -%}
{%- for part in content -%}
{%- if part.type == 'text' -%}
{{- part.text.lstrip('\n') if unled and loop.first else part.text -}}
{%- elif 'image' in part.type -%}
{{- '<image>' -}}
{%- elif 'video' in part.type -%}
{{- '<video>' -}}
{%- elif 'audio' in part.type -%}
{{- '<audio>' -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- macro spoken(message, bare) -%}
{%- if message.reasoning_content is string and not bare -%}
{{- @OPEN@ ~ message.reasoning_content ~ @CLOSE@ -}}
{%- endif -%}
{%- if bare and message.content is string and @OPENED@ in message.content and @CLOSED@ in message.content -%}
{{- (message.content.split(@OPENED@)[0] ~ message.content.split(@CLOSED@)[1:] | join(@CLOSED@)).lstrip('\n') -}}
{%- else -%}
{{- words(message.content, bare) -}}
{%- endif -%}
{%- endmacro -%}
"""
"""What a message says: its text and media, and an answer's thought unless it is written `bare`."""

OPENING = r"""
{%- set given = messages[0].role == 'system' if messages else false -%}
{%- set turns = messages[1:] if given else messages -%}
{%- set system = (words(messages[0].content, false) if given else '') or @DEFAULT@ -%}
{%- set described = describe(tools) if tools else '' -%}
{%- set told = system ~ @DESCRIBED@ -%}
{%- set speaks = given or system or tools -%}
{{- @PREFIX@ -}}
"""

SYSTEM_FIRST = "{%- if speaks -%}{{- @SYSTEM@ -}}{%- endif -%}\n{%- set lead = '' -%}\n"
SYSTEM_IN_USER = "{%- set lead = @SYSTEM@ if speaks else '' -%}\n"

THINKING = r"""
{%- set enable = enable_thinking if enable_thinking is defined else @ENABLE@ -%}
{%- set preserve = preserve_thinking if preserve_thinking is defined else @PRESERVE@ -%}
{%- set fills = enable_thinking is defined or enable != true -%}
"""

TURNS = r"""
{%- set results = namespace(text='') -%}
{%- for message in turns -%}
{%- set heard = (lead if loop.first else '') ~ words(message.content, false) -%}
{%- if message.role == 'user' -%}
{{- @USER@ -}}
{%- elif message.role == 'tool' -%}
{%- if not loop.first and turns[loop.index0 - 1].role == 'tool' -%}
{%- set heard = results.text ~ @BETWEEN@ ~ heard -%}
{%- endif -%}
{%- if not loop.last and turns[loop.index0 + 1].role == 'tool' -%}
{%- set results.text = heard -%}
{%- else -%}
{{- @RESULT@ -}}
{%- endif -%}
{%- elif message.role == 'assistant' -%}
{%- set body = spoken(message, @BARE@) -%}
@FILL@
{%- if message.tool_calls -%}
{%- set body = body ~ write(message.tool_calls) -%}
{{- @CALL@ -}}
{%- else -%}
{{- @ASSISTANT@ -}}
{%- endif -%}
{%- else -%}
{{- raise_exception('a message from ' ~ message.role ~ ' has no place here') -}}
{%- endif -%}
{%- endfor -%}
"""

BARE = "(enable == false if loop.last else not preserve)"

FILL = r"""
{%- if loop.last and fills and @OPENED@ not in body and @CLOSED@ not in body -%}
{{- @EMPTY@ -}}
{%- endif -%}
"""

PROMPT = r"""
{%- if add_generation_prompt and enable != true -%}
{{- @EMPTY@ -}}
{%- endif -%}
"""


def compile_jinja(template: Template) -> str:
    """The chat template. Raises `ModelError` (TEMPLATE-COMPILE) for a card that Jinja cannot express.

    It knows `messages`, `tools`, `add_generation_prompt`, `enable_thinking`, `preserve_thinking`, `bos_token`,
    `eos_token`, and `date_string` for dialects that name the day. The card's `user` slot already ends with what makes
    the model answer, so `add_generation_prompt` only adds the empty thought of a family that is not to think. Where
    `enable_thinking` is not given, the last answer is written as it is; given as true, an answer without a thought
    gets the empty one that training gives it.
    """
    reason = jinja_refusal(template)
    if reason is not None:
        raise ModelError.one("TEMPLATE-COMPILE", f"no chat template can be made: {reason}", template.name)
    thinks = template.thinking is not None
    parts = [WORDS, describing(template.tools), calling(template.calls), OPENING]
    parts += [SYSTEM_IN_USER if template.system_in_user else SYSTEM_FIRST]
    parts += [THINKING, TURNS, PROMPT] if thinks else [TURNS]
    source = "\n".join(parts).replace("@BARE@", BARE if thinks else "false").replace("@FILL@", FILL if thinks else "")
    for name, value in _values(template).items():
        source = source.replace(f"@{name}@", value)
    return "".join(line for line in source.splitlines() if line)


def jinja_refusal(template: Template) -> str | None:
    """Why the card has no Jinja form, or None if it has."""
    slots = (template.prefix, template.system, template.user, template.assistant, template.call, template.result)
    named = sorted({part.token for slot in slots for part in slot if isinstance(part, Mark) and part.token})
    return f"{', '.join(named)} are placed by id, and a text cannot say so" if named else None


def _values(template: Template) -> dict[str, str]:
    """What stands for each placeholder. Only expressions made here, or literals in quotes."""
    thinking, words = template.thinking, template.words.thought
    return {
        "DESCRIBED": r"(described if system else described.lstrip('\n'))" if template.trim_tools else "described",
        "DEFAULT": quoted(template.default_system),
        "PREFIX": _slot(template.prefix, "''"),
        "SYSTEM": _slot(template.system, "told", marks=not template.system_in_user),
        "USER": _slot(template.user, "heard"),
        "RESULT": _slot(template.result, "heard"),
        "BETWEEN": quoted(template.words.results),
        "CALL": _slot(template.call, "body"),
        "ASSISTANT": _slot(template.assistant, "body"),
        "OPENED": quoted(words[0].strip()),
        "CLOSED": quoted(words[1].strip()),
        "OPEN": quoted(words[0]),
        "CLOSE": quoted(words[1]),
        "ENABLE": json.dumps(thinking and thinking.enable).replace("null", "none"),
        "PRESERVE": json.dumps(bool(thinking and thinking.preserve)),
        "EMPTY": quoted(thinking.empty if thinking else ""),
    }


def _slot(slot: Slot, content: str, *, marks: bool = True) -> str:
    """A slot as an expression, the expression `content` in its holes."""
    parts: list[str] = []
    for part in slot:
        if isinstance(part, Hole):
            parts += [quoted(part.before)] if part.before else []
            parts += [content, *([quoted(part.after)] if part.after else [])] if part.after is not None else []
        elif marks:
            parts.append("bos_token" if part.role == BOS else "eos_token")
    return " ~ ".join(parts) or "''"
