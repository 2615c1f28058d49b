"""Tool dialects in Jinja: a macro `describe(tools)` and a macro `write(calls)` for each dialect.

The fixed text of a description is taken from the dialect itself; what is here is only how tools and calls are listed.
"""

from __future__ import annotations

import re

from hone.dialogue.compile import jinja_notation
from hone.dialogue.tools import dialect

PROBE = {"name": "probe", "description": "", "parameters": {"type": "object", "properties": {}}}

SCHEMAS = r"""
{%- macro bare(tool) -%}
{{- (tool.function if tool.function is mapping else tool) | tojson -}}
{%- endmacro -%}
{%- macro wrapped(tool) -%}
{{- (tool if tool.type == 'function' else {'type': 'function', 'function': tool}) | tojson -}}
{%- endmacro -%}
{%- macro plain(value) -%}
{{- value if value is string else value | tojson -}}
{%- endmacro -%}
"""

_ARGUMENT = r"""
{%- set field = parameters.properties[name] -%}
{{- '  - ' ~ name ~ ' (' ~ (field.type or '') ~ (', required' if name in needed else '') ~ '): ' -}}
{{- field.description or '' -}}
{%- if field.enum -%}{{- ', should be one of [' ~ field.enum | join(', ') ~ ']' -}}{%- endif -%}
{%- if field.get('items') -%}{{- ', where each item should be ' ~ (field.get('items').type or '') -}}{%- endif -%}
{{- '\n' -}}
"""
_PLAINLY = rf"""
{{%- for tool in tools -%}}
{{%- set tool = tool.function if tool.function is mapping else tool -%}}
{{%- set parameters = tool.parameters -%}}
{{%- set needed = parameters.required or [] -%}}
{{{{- '> Tool Name: ' ~ tool.name ~ '\nTool Description: ' ~ (tool.description or '') ~ '\nTool Args:\n' -}}}}
{{%- for name in parameters.properties -%}}{_ARGUMENT}{{%- endfor -%}}
{{{{- '\n' -}}}}
{{%- endfor -%}}
{{{{- @1@ -}}}}
{{%- for tool in tools -%}}
{{{{- (', ' if not loop.first else '') ~ (tool.function.name if tool.function is mapping else tool.name) -}}}}
{{%- endfor -%}}
"""
_LINES = r"{%- for tool in tools -%}{{- '\n' ~ @SCHEMA@(tool) -}}{%- endfor -%}"
_LIST = r"""
{{- '[' -}}
{%- for tool in tools -%}
{{- (', ' if not loop.first else '') ~ @SCHEMA@(tool) -}}
{%- endfor -%}
{{- ']' -}}
"""
_WRAPPED, _BARE = (_LINES.replace("@SCHEMA@", name) for name in ("wrapped", "bare"))

LISTED = {
    "default": _PLAINLY,
    "glm4": r"""
{%- for tool in tools -%}
{%- set tool = tool.function if tool.function is mapping else tool -%}
{{- @1@ ~ tool.name ~ '\n\n' ~ tool | tojson(indent=4) ~ @2@ -}}
{%- endfor -%}
""",
    "glm4_moe": _WRAPPED,
    "lfm2": _LIST.replace("@SCHEMA@", "bare"),
    "ling": _WRAPPED,
    "llama3": r"""
{%- for tool in tools -%}
{%- set tool = tool if tool.type == 'function' else {'type': 'function', 'function': tool} -%}
{{- tool | tojson(indent=4) ~ '\n\n' -}}
{%- endfor -%}
""",
    "minimax1": _BARE,
    "minimax2": r"{%- for tool in tools -%}{{- @1@ ~ bare(tool) ~ @2@ -}}{%- endfor -%}",
    "mistral": _LIST.replace("@SCHEMA@", "wrapped"),
    "phi4": "{{- tools | tojson -}}",
    "qwen": _WRAPPED,
    "qwen3_5": _BARE,
    "seed_oss": "{{- tools | tojson -}}",
}
"""How each dialect lists the tools. `@0@` to `@9@` are the fixed texts of its description, in order."""

DECLARED = {"gemma4": jinja_notation.DECLARATIONS}
"""The description of dialects whose fixed texts are only marks between the fields."""

_CALL = r"{%- set call = call.function if call.function is mapping else call -%}"
_EACH = "{%- for call in calls -%}" + _CALL
_JSON = r"""'{"name": ' ~ call.name | tojson ~ ', "@KEY@": ' ~ plain(call.arguments) ~ '}'"""
_OBJECT = _JSON.replace("@KEY@", "arguments")
_VALUES = "{%- for name in call.arguments -%}{%- set value = call.arguments[name] -%}"
_ENDS = "{%- endfor -%}"

WRITTEN = {
    "default": _EACH
    + r"{{- ('\n' if not loop.first else '') ~ 'Action: ' ~ call.name ~ '\nAction Input: ' ~ plain(call.arguments) -}}"
    + _ENDS,
    "gemma4": _EACH + jinja_notation.CALL + _ENDS,
    "glm4": r"{%- if calls | length != 1 -%}{{- raise_exception('GLM-4 calls one function at a time') -}}{%- endif -%}"
    + _EACH
    + r"{{- call.name ~ '\n' ~ plain(call.arguments) -}}"
    + _ENDS,
    "glm4_moe": _EACH
    + r"{{- '\n<tool_call>' ~ call.name -}}"
    + _VALUES
    + r"{{- '\n<arg_key>' ~ name ~ '</arg_key>\n<arg_value>' ~ plain(value) ~ '</arg_value>' -}}"
    + _ENDS
    + r"{{- '\n</tool_call>' -}}"
    + _ENDS,
    "lfm2": "{{- '<|tool_call_start|>[' -}}"
    + _EACH
    + "{{- (', ' if not loop.first else '') ~ call.name ~ '(' -}}"
    + _VALUES
    + """{{- (', ' if not loop.first else '') ~ name ~ '=' -}}"""
    + """{{- '"' ~ value ~ '"' if value is string else value | tojson -}}"""
    + _ENDS
    + "{{- ')' -}}"
    + _ENDS
    + "{{- ']<|tool_call_end|>' -}}",
    "llama3": "{{- '[' if calls | length > 1 else '' -}}"
    + _EACH
    + "{{- (', ' if not loop.first else '') ~ "
    + _JSON.replace("@KEY@", "parameters")
    + " -}}"
    + _ENDS
    + "{{- ']' if calls | length > 1 else '' -}}",
    "minimax1": r"{{- '<tool_calls>\n' -}}"
    + _EACH
    + r"{{- ('\n' if not loop.first else '') ~ "
    + _OBJECT
    + " -}}"
    + _ENDS
    + r"{{- '\n</tool_calls>' -}}",
    "minimax2": r"{{- '<minimax:tool_call>\n' -}}"
    + _EACH
    + r"""{{- ('\n' if not loop.first else '') ~ '<invoke name="' ~ call.name ~ '">\n' -}}"""
    + _VALUES
    + r"""{{- '<parameter name="' ~ name ~ '">' ~ plain(value) ~ '</parameter>\n' -}}"""
    + _ENDS
    + "{{- '</invoke>' -}}"
    + _ENDS
    + r"{{- '\n</minimax:tool_call>' -}}",
    "mistral": "{{- '[' -}}"
    + _EACH
    + "{{- (', ' if not loop.first else '') ~ "
    + _OBJECT
    + " -}}"
    + _ENDS
    + "{{- ']' -}}",
    "qwen": _EACH
    + r"{{- ('\n' if not loop.first else '') ~ '<tool_call>\n' ~ "
    + _OBJECT
    + r" ~ '\n</tool_call>' -}}"
    + _ENDS,
    "qwen3_5": _EACH
    + r"{{- ('\n' if not loop.first else '') ~ '<tool_call>\n<function=' ~ call.name ~ '>\n' -}}"
    + _VALUES
    + r"{{- '<parameter=' ~ name ~ '>\n' ~ plain(value) ~ '\n</parameter>\n' -}}"
    + _ENDS
    + r"{{- '</function>\n</tool_call>' -}}"
    + _ENDS,
    "seed_oss": _EACH
    + r"{{- ('\n' if not loop.first else '') ~ '\n<seed:tool_call>\n<function=' ~ call.name ~ '>\n' -}}"
    + _VALUES
    + r"{{- '<parameter=' ~ name ~ '>' ~ plain(value) ~ '</parameter>\n' -}}"
    + _ENDS
    + r"{{- '</function>\n</seed:tool_call>' -}}"
    + _ENDS,
}
WRITTEN |= {"ling": WRITTEN["qwen"], "phi4": WRITTEN["default"]}
"""How each dialect writes calls."""


def describing(name: str | None) -> str:
    """The macro `describe(tools)`, and what it needs."""
    needed = SCHEMAS + (jinja_notation.NOTATION if name in DECLARED else "")
    return f"{needed}{{%- macro describe(tools) -%}}\n{_description(name)}\n{{%- endmacro -%}}"


def calling(name: str) -> str:
    """The macro `write(calls)`."""
    return f"{{%- macro write(calls) -%}}\n{WRITTEN[name]}\n{{%- endmacro -%}}"


def _description(name: str | None) -> str:
    if name is None:
        return ""
    if name in DECLARED:
        return DECLARED[name]
    fixed = [quoted(run.text) for run in dialect(name).describe([PROBE]) if run.own]
    if name == "llama3":
        fixed[0] = _with_the_day(fixed[0])
    listed = LISTED[name]
    inside = [place for place in range(len(fixed)) if f"@{place}@" in listed]
    for place in inside:
        listed = listed.replace(f"@{place}@", fixed[place])
    after = fixed[max(inside, default=0) + 1 :]
    return "".join([_printed(fixed[0]), listed, *map(_printed, after)])


def _printed(expression: str) -> str:
    return f"{{{{- {expression} -}}}}"


def _with_the_day(text: str) -> str:
    """The text with the day that the caller names, that of the program that renders, or a fixed one."""
    day = (
        "(date_string if date_string is defined else strftime_now('%d %b %Y') if strftime_now is defined "
        "else '26 Jul 2024')"
    )
    return re.sub(r"(?<=Today Date: )[^\\]*", lambda _: f"' ~ {day} ~ '", text)


def quoted(text: str) -> str:
    """The text as a Jinja string on one line."""
    for letter, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(letter, escaped)
    return f"'{text}'"
