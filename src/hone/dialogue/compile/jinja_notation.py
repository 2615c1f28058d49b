"""Gemma 4's own notation for schemas and calls, in Jinja."""

from __future__ import annotations

NOTATION = r"""
{%- macro noted(value) -%}
{%- if value is string -%}
{{- '<|"|>' ~ value ~ '<|"|>' -}}
{%- elif value is mapping -%}
{{- '{' ~ noted_fields(value) ~ '}' -}}
{%- elif value is sequence -%}
{{- '[' -}}
{%- for item in value -%}{{- (',' if not loop.first else '') ~ noted(item) -}}{%- endfor -%}
{{- ']' -}}
{%- else -%}
{{- value | tojson -}}
{%- endif -%}
{%- endmacro -%}
{%- macro noted_fields(fields) -%}
{%- if fields is mapping -%}
{%- for name in fields | sort(case_sensitive=true) -%}
{{- (',' if not loop.first else '') ~ name ~ ':' ~ noted(fields[name]) -}}
{%- endfor -%}
{%- else -%}
{{- fields if fields is string else noted(fields) -}}
{%- endif -%}
{%- endmacro -%}
"""
"""Values in Gemma 4's own notation."""

_TYPE = "'type:' ~ noted(@.type | string | upper)"
_FIELD = rf"""
{{%- set field = parameters.properties[name] -%}}
{{{{- (',' if not loop.first else '') ~ name ~ ':{{' -}}}}
{{{{- 'description:' ~ noted(field.description | string) if field.description else '' -}}}}
{{{{- ',' if field.description and field.type else '' -}}}}
{{{{- ({_TYPE.replace("@", "field")} if field.type else '') ~ '}}' -}}}}
"""
_PARAMETERS = rf"""
{{%- set mark = namespace(text='') -%}}
{{%- if parameters.properties -%}}
{{{{- 'properties:{{' -}}}}
{{%- for name in parameters.properties -%}}{_FIELD}{{%- endfor -%}}
{{{{- '}}' -}}}}
{{%- set mark.text = ',' -%}}
{{%- endif -%}}
{{%- if parameters.required -%}}
{{{{- mark.text ~ 'required:' ~ noted(parameters.required) -}}}}
{{%- set mark.text = ',' -%}}
{{%- endif -%}}
{{{{- mark.text ~ {_TYPE.replace("@", "parameters")} if parameters.type else '' -}}}}
"""
DECLARATIONS = rf"""
{{%- for tool in tools -%}}
{{%- set tool = tool.function if tool.function is mapping else tool -%}}
{{{{- ('\n' if not loop.first else '') ~ 'declaration:' ~ tool.name ~ '{{' -}}}}
{{{{- 'description:' ~ noted((tool.description or '') | string) -}}}}
{{%- set parameters = tool.parameters -%}}
{{%- if parameters -%}}
{{{{- ',parameters:{{' -}}}}{_PARAMETERS}{{{{- '}}' -}}}}
{{%- endif -%}}
{{{{- '}}' -}}}}
{{%- endfor -%}}
"""
"""What `describe(tools)` prints."""

CALL = r"{{- '<|tool_call>call:' ~ call.name ~ '{' ~ noted_fields(call.arguments) ~ '}<tool_call|>' -}}"
"""What `write(calls)` prints for each call."""
