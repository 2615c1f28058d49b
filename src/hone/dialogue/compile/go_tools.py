"""Tool dialects in Go's template language, for those whose tools and calls are JSON.

Ollama itself writes the JSON of a schema and of a call's arguments: compact, and in an order of its own. Dialects that
write values one by one, or tools in plain words, have no form here: a Modelfile without `.Tools` makes Ollama say that
the model has none.
"""

from __future__ import annotations

from hone.dialogue.compile.jinja_tools import PROBE
from hone.dialogue.template import Template
from hone.dialogue.tools import dialect, llama3

_SCHEMA = '{"type": "function", "function": {{ .Function }}}'
_CALL = '{"name": "{{ .Function.Name }}", "@KEY@": {{ .Function.Arguments }}}'
_OBJECT = _CALL.replace("@KEY@", "arguments")
DAY = "26 Jul 2024"
"""The day that Llama 3's dialect names where nobody tells the date, as in the vendor's own chat template."""

LISTED = {
    "qwen": "{{ range $.Tools }}\n" + _SCHEMA + "{{ end }}",
    "ling": "{{ range $.Tools }}\n" + _SCHEMA + "{{ end }}",
    "llama3": "{{ range $.Tools }}" + _SCHEMA + "\n\n{{ end }}",
    "mistral": "[{{ range $n, $_ := $.Tools }}{{ if $n }}, {{ end }}" + _SCHEMA + "{{ end }}]",
    "minimax1": "{{ range $.Tools }}\n{{ .Function }}{{ end }}",
}
"""How each dialect lists the tools."""

_SEVERAL = "{{ if gt (len .ToolCalls) 1 }}"
WRITTEN = {
    "qwen": "{{ range $n, $_ := .ToolCalls }}{{ if $n }}\n{{ end }}<tool_call>\n" + _OBJECT + "\n</tool_call>{{ end }}",
    "llama3": f"{_SEVERAL}[{{{{ end }}}}{{{{ range $n, $_ := .ToolCalls }}}}{{{{ if $n }}}}, {{{{ end }}}}"
    + _CALL.replace("@KEY@", "parameters")
    + f"{{{{ end }}}}{_SEVERAL}]{{{{ end }}}}",
    "mistral": "[{{ range $n, $_ := .ToolCalls }}{{ if $n }}, {{ end }}" + _OBJECT + "{{ end }}]",
    "minimax1": "<tool_calls>\n{{ range .ToolCalls }}" + _OBJECT + "\n{{ end }}</tool_calls>",
}
WRITTEN |= {"ling": WRITTEN["qwen"]}
"""How each dialect writes calls."""


def go_tools_refusal(template: Template) -> str | None:
    """Why the compiled template leaves tools out, or None if it writes them."""
    if template.tools is None:
        return "the card describes no tools"
    unwritten = [name for name, known in ((template.tools, LISTED), (template.calls, WRITTEN)) if name not in known]
    return f"the dialect {unwritten[0]} has no form in Go" if unwritten else None


def literal(text: str) -> str:
    """Text that Go prints as it is."""
    return text.replace("{{", '{{ "{{" }}')


def described(name: str) -> tuple[str, str]:
    """The text that tells of the tools: the line ends that lead it, and the rest."""
    before, *after = [literal(run.text) for run in dialect(name).describe([PROBE]) if run.own]
    text = before + LISTED[name] + "".join(after)
    if name == "llama3":
        text = text.replace(llama3.date_of(llama3.today()), DAY)
    body = text.lstrip("\n")
    return text[: len(text) - len(body)], body


def written(name: str) -> str:
    """The calls of a message."""
    return WRITTEN[name]
