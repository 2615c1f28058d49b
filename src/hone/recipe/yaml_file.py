"""Read a YAML recipe without trusting it: no objects, no alias bombs, no silent duplicates; entries know their line."""

from __future__ import annotations

from typing import Any

import yaml

from hone.errors import Fault, RecipeError
from hone.recipe.entry import Entry
from hone.recipe.values import Plain

MOST_NODES = 10_000
"""Values a recipe may hold once aliases are followed; a bomb of aliases ends here."""
MOST_DEPTH = 32
_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset(_CORE + name for name in ("str", "int", "float", "bool", "null", "seq", "map"))


class _Builder:
    """Turns nodes into plain values and counts them on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def where(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def entries(self, root: yaml.MappingNode, depth: int = 0) -> list[Entry]:
        """The settings of the outermost mapping; those of a merged mapping (`<<`) only where not given anew."""
        own: list[Entry] = []
        merged: dict[str, Entry] = {}
        for key, node in root.value:
            if _merges(key):
                merged |= {entry.name: entry for entry in self.merged(node, depth + 1)}
            else:
                own.append(Entry(self.word(key), self.value(node, 1), self.where(key)))
        names = {entry.name for entry in own}
        return [*(entry for name, entry in merged.items() if name not in names), *own]

    def merged(self, node: yaml.Node, depth: int) -> list[Entry]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise RecipeError.one("CFG-YAML", "<<", self.where(node), "only a mapping can be merged")
        self.tick(node, depth)
        return [entry for part in reversed(parts) for entry in self.entries(part, depth)]

    def value(self, node: yaml.Node, depth: int) -> Any:
        self.tick(node, depth)
        if isinstance(node, yaml.ScalarNode):
            return Plain(node.value) if node.style is None else str(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, depth + 1) for each in node.value]
        return self.mapping(node, depth)

    def mapping(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = self.word(key)
            if _merges(key):
                raise RecipeError.one("CFG-YAML", "<<", self.where(key), "only the recipe itself can merge a mapping")
            if name in found:
                again = f"already given in line {lines[name]}; keep one"
                raise RecipeError.one("CFG-DUPLICATE", name, self.where(key), again)
            found[name], lines[name] = self.value(value, depth + 1), key.start_mark.line + 1
        return found

    def word(self, node: yaml.Node) -> str:
        self.tick(node, 0)
        if not isinstance(node, yaml.ScalarNode):
            raise RecipeError.one("CFG-YAML", "a name", self.where(node), "a setting's name must be a word")
        return str(node.value)

    def tick(self, node: yaml.Node, depth: int) -> None:
        """Count one value; refuse too many, too deep, and tags that would make objects."""
        self.count += 1
        if self.count > MOST_NODES or depth > MOST_DEPTH:
            limit = f"more than {MOST_NODES} values or {MOST_DEPTH} levels, aliases followed; write it out plainly"
            raise RecipeError.one("CFG-ALIAS", "too large a recipe", self.where(node), limit)
        if node.tag not in _TAGS:
            tag = node.tag.replace(_CORE, "!!")
            raise RecipeError.one("CFG-TAG", tag, self.where(node), "tags are refused; write a plain value")


def read_yaml(text: str, name: str) -> list[Entry]:
    """The settings of a YAML text, in order, duplicates included; `name` is the file's. Raises RecipeError."""
    root = _compose(text, name)
    if root is None:
        return []
    builder = _Builder(name)
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError.one("CFG-YAML", "not a recipe", builder.where(root), "write lines of the form `name: value`")
    return builder.entries(root)


def parse_flow(text: str) -> Any:
    """The value of one YAML text, such as `[a, b]` or `{a: 1}`. Raises ValueError."""
    try:
        root = _compose(text, "")
        return None if root is None else _Builder("").value(root, 1)
    except RecipeError as error:
        raise ValueError(str(error)) from error


def _merges(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None


def _compose(text: str, name: str) -> yaml.Node | None:
    """The tree of nodes. Events are looked at first, because composing recurses."""
    try:
        depth = documents = 0
        for count, event in enumerate(yaml.parse(text, Loader=yaml.BaseLoader)):
            documents += isinstance(event, yaml.DocumentStartEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else 0
            if count > 2 * MOST_NODES:
                raise RecipeError.one(
                    "CFG-YAML", "too large a recipe", f"{name}:{line}", f"at most {MOST_NODES} values"
                )
            if depth > MOST_DEPTH:
                raise RecipeError.one("CFG-YAML", "nested too deeply", f"{name}:{line}", f"at most {MOST_DEPTH} levels")
            if documents > 1:
                raise RecipeError.one("CFG-YAML", "several documents", f"{name}:{line}", "one file holds one recipe")
        return yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise RecipeError(_syntax(error, text, name)) from error


def _syntax(error: yaml.YAMLError, text: str, name: str) -> Fault:
    """What PyYAML found, said with line and column."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Fault("CFG-YAML", "not YAML", _character(error, text, name), "remove the control character")
    where = f"{name}:{mark.line + 1}:{mark.column + 1}"
    problem = str(getattr(error, "problem", "") or "cannot be read")
    if "'\\t'" in problem:
        return Fault("CFG-YAML", "a tab", where, "YAML is indented with spaces")
    return Fault("CFG-YAML", "not YAML", where, problem)


def _character(error: yaml.YAMLError, text: str, name: str) -> str:
    position = int(getattr(error, "position", 0) or 0)
    return f"{name}:{text.count(chr(10), 0, position) + 1}: character {position}"
