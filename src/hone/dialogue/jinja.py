"""Chat templates written in Jinja, run in a sandbox that bounds their reach, their output and their work.

A chat template comes with a model, from strangers: it may only print. It sees no Python objects but the conversation,
and neither loops nor strings grow beyond a budget.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hone.errors import ModelError

LARGEST_TEMPLATE = 512 * 1024
LARGEST_TEXT = 16 * 1024 * 1024
"""Characters of any text that a template makes, or of all texts in a list that it shows."""
MOST_ITEMS = 200_000
"""Items of any list that a template shows, lists in it and theirs included."""
MOST_STEPS = 2_000_000
"""Turns of all loops of one rendering together."""

LEARNED = ("\U0010fffe", "\U0010ffff")
"""What stands around the text between `{% generation %}` and `{% endgeneration %}`: noncharacters, in no real text."""

FILTERS = frozenset(
    {"abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items", "last"}
    | {"length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "safe", "select"}
    | {"selectattr", "sort", "sum", "title", "trim", "unique", "upper"}
)
METHODS = {
    str: {"capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit", "islower", "isspace"}
    | {"isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex"}
    | {"rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"},
    dict: {"copy", "get", "items", "keys", "values"},
    list: {"copy", "count", "index"},
    tuple: {"count", "index"},
}


class BudgetError(SecurityError):
    """A template wanted more than its share."""


class Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self.steps = MOST_STEPS

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, each one paid for."""
        for item in items:
            self.steps -= 1
            if self.steps < 0:
                raise BudgetError("the template loops too often")
            yield item


def limited(value: Any) -> Any:
    """The value, unless showing it would make a text beyond the limit."""
    characters, items = 0, [value]
    for seen, item in enumerate(_unfolded(items)):
        characters += len(item) if isinstance(item, str) else 0
        if characters > LARGEST_TEXT or seen > MOST_ITEMS:
            raise BudgetError("the template makes too long a text")
    return value


def _unfolded(items: list[Any]) -> Iterator[Any]:
    """The items, and those of every list and table among them."""
    while items:
        item = items.pop()
        yield item
        if isinstance(item, list | tuple):
            items += item
        elif isinstance(item, Mapping):
            items += [*item.keys(), *item.values()]


class Generation(Extension):
    """The tags around what the model learns."""

    tags = {"generation"}  # noqa: RUF012 (the type that Jinja declares)

    def parse(self, parser: Any) -> Any:
        """Put a mark before and after the body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        start, end = (nodes.Output([nodes.TemplateData(mark)], lineno=line) for mark in LEARNED)
        return [start, *body, end]


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of the field's chat templates, with fewer doors."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation], finalize=limited)
        self.filters = {name: self.filters[name] for name in FILTERS}
        self.filters.update(tojson=_tojson, replace=_replace, indent=_indent, join=_join, string=_string)
        kept = {name: self.globals[name] for name in ("range", "namespace", "dict")}
        self.globals = {**kept, "raise_exception": _refuse}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Methods from a short list; anything on plain data that is no method."""
        if not super().is_safe_attribute(obj, attr, value):
            return False
        allowed = next((names for kind, names in METHODS.items() if isinstance(obj, kind)), None)
        return allowed is None or not callable(value) or attr in allowed

    def wrap_str_format(self, value: Any) -> None:
        """No `format` at all: widths make texts of any length."""
        return None

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Refuse at once what is not allowed."""
        raise SecurityError(f"the attribute {attribute} of a {type(obj).__name__} is out of bounds")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Numbers may be multiplied, and texts within the limit; nothing is formatted."""
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "*" and not numbers and _product(left, right) > LARGEST_TEXT:
            raise BudgetError("the template makes too long a text")
        if operator == "**" or (operator == "%" and not numbers):
            raise SecurityError(f"the template uses the operator {operator}")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, called: Any, *args: Any, **kwargs: Any) -> Any:
        """Methods of texts that could make a text beyond the limit are measured first."""
        text, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
        if isinstance(text, str) and name == "replace":
            return _replace(text, *args)
        if isinstance(text, str) and name == "join":
            return _join(args[0], text)
        return limited(super().call(context, called, *args, **kwargs))


def _product(left: Any, right: Any) -> int:
    """How long a text times a number is; lists are not multiplied."""
    text, times = (left, right) if isinstance(left, str) else (right, left)
    return len(text) * times if isinstance(text, str) and isinstance(times, int) else LARGEST_TEXT + 1


def _join(items: Any, between: str = "", attribute: str | None = None) -> str:
    """The items as one text."""
    listed = [item if attribute is None else item[attribute] for item in limited(list(items))]
    if len(listed) * len(str(between)) > LARGEST_TEXT:
        raise BudgetError("the template makes too long a text")
    return str(between).join(str(item) for item in listed)


def _string(value: Any) -> str:
    return str(limited(value))


def _replace(text: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > LARGEST_TEXT:
        raise BudgetError("the template makes too long a text")
    return text.replace(old, new, -1 if count is None else count)


def _indent(text: Any, width: int = 4, first: bool = False) -> str:
    lines = str(text).split("\n")
    space = " " * min(int(width), 64)
    return ("\n" + space).join([(space if first else "") + lines[0], *lines[1:]])


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None) -> str:
    """JSON as the field's chat templates expect it: letters as they are, nothing escaped for HTML."""
    return json.dumps(
        limited(value), ensure_ascii=ensure_ascii, indent=min(indent, 64) if indent else indent, separators=separators
    )


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def compile_template(source: str) -> Callable[[Mapping[str, Any]], str]:
    """The template as a function of its variables. Raises `ModelError` (TEMPLATE-JINJA) where it is no template."""
    if len(source) > LARGEST_TEMPLATE:
        raise ModelError.one(
            "TEMPLATE-JINJA", f"a chat template of {len(source)} characters is refused", "chat_template"
        )
    sandbox = Sandbox()
    try:
        template = sandbox.from_string(_watched(sandbox.parse(source)))
    except (jinja2.TemplateError, RecursionError, ValueError) as error:
        raise ModelError.one("TEMPLATE-JINJA", f"the chat template cannot be read: {error}", "chat_template") from error

    def render(variables: Mapping[str, Any]) -> str:
        return _rendered(template, variables)

    return render


def _watched(tree: nodes.Template) -> nodes.Template:
    """Count every loop's turns, and measure what is put together."""
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = nodes.Call(nodes.Name("counted__", "load"), [loop.iter], [], None, None, lineno=loop.lineno)
    for parent in list(tree.find_all(nodes.Node)):
        for field, value in parent.iter_fields():
            joins = isinstance(parent, nodes.Concat)
            if isinstance(value, list):
                setattr(parent, field, [_measured(item) if joins or _grows(item) else item for item in value])
            elif _grows(value):
                setattr(parent, field, _measured(value))
    return tree


def _grows(value: Any) -> bool:
    return isinstance(value, nodes.Concat | nodes.Add)


def _measured(node: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.Name("limited__", "load"), [node], [], None, None, lineno=node.lineno)


def _rendered(template: jinja2.Template, variables: Mapping[str, Any]) -> str:
    """The text. Raises `ModelError` (TEMPLATE-JINJA) with the template's own refusal, or where it leaves its bounds."""
    budget = Budget()
    made: list[str] = []
    size = 0
    try:
        for chunk in template.generate({**variables, "counted__": budget.counted, "limited__": limited}):
            size += len(chunk)
            if size > LARGEST_TEXT:
                raise BudgetError("the template prints too much")
            made.append(chunk)
    except (jinja2.TemplateError, RecursionError, MemoryError, OverflowError) as error:
        raise ModelError.one("TEMPLATE-JINJA", f"the chat template refuses: {error}", "chat_template") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise ModelError.one("TEMPLATE-JINJA", f"the chat template fails: {error}", "chat_template") from error
    return "".join(made)
