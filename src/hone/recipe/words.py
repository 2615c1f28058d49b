"""Read the words after the verb: a file first, then `name=value`, or `--flags` alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hone.errors import Fault
from hone.recipe.aliases import OLD
from hone.recipe.entry import Entry
from hone.recipe.schema import Key, all_keys
from hone.recipe.values import Plain, is_truth

FILES = (".yaml", ".yml", ".json")
_HERE = "command line"


def split_file(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The recipe file, if the first word is one, and the remaining words."""
    if words and words[0].lower().endswith(FILES) and not words[0].startswith("--") and "=" not in words[0]:
        return words[0], list(words[1:])
    return None, list(words)


def read_words(words: Sequence[str]) -> tuple[list[Entry], list[Fault]]:
    """The settings that the words give, in order, and what is wrong with them."""
    reader = _Reader(list(words))
    entries = list(reader.entries())
    return entries, reader.faults


class _Reader:
    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.faults: list[Fault] = []
        self.keys: Mapping[str, Key] = all_keys()

    def entries(self) -> Iterator[Entry]:
        while self.words:
            word = self.words.pop(0)
            if word.startswith("--") and len(word) > 2:
                yield from self.flag(word[2:])
            elif "=" in word and not word.startswith("-"):
                name, _, value = word.partition("=")
                yield Entry(name.strip(), _value(value), _HERE)
            else:
                self.faults.append(_stray(word))

    def flag(self, word: str) -> Iterator[Entry]:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        values = [] if equals else self.values(name)
        if equals:
            yield Entry(name, _value(value), _HERE)
        elif self.negates(name):
            yield Entry(name[3:], Plain("false"), _HERE)
        elif values:
            yield Entry(name, values if len(values) > 1 else values[0], _HERE)
        elif self.needs_value(name):
            self.faults.append(Fault("CFG-MISSING", f"--{name}", _HERE, "a value must follow"))
        else:
            yield Entry(name, Plain("true"), _HERE)

    def negates(self, name: str) -> bool:
        """Whether the flag is `no_` before a switch; such a flag takes no value."""
        key = self.keys.get(name.removeprefix("no_"))
        return name.startswith("no_") and name not in self.keys and name not in OLD and key is not None and _switch(key)

    def values(self, name: str) -> list[str]:
        """The words that belong to a flag: one, for a list all up to the next flag, for a switch only yes or no."""
        key = self.keys.get(OLD[name].new if name in OLD else name)
        many = key is not None and "list" in key.kinds
        if self.negates(name) or (self.stands_alone(name) and not (self.words and is_truth(self.words[0]))):
            return []
        found: list[str] = []
        while self.words and not self.words[0].startswith("--") and (many or not found):
            if found and "=" in self.words[0]:
                break
            found.append(_value(self.words.pop(0)))
        return found

    def needs_value(self, name: str) -> bool:
        key = self.keys.get(name)
        return key is not None and not _switch(key)

    def stands_alone(self, name: str) -> bool:
        """Whether the key is nothing but a switch."""
        key = self.keys.get(name)
        return key is not None and not {*key.kinds} - {"bool", "null"}


def _switch(key: Key) -> bool:
    return "bool" in key.kinds


def _value(word: str) -> str:
    """An empty word is the empty text that the shell was asked for, not a blank in a file."""
    return Plain(word) if word else ""


def _stray(word: str) -> Fault:
    if word.lower().endswith(FILES):
        return Fault("CFG-USAGE", word, _HERE, "the recipe file comes first")
    return Fault("CFG-USAGE", word, _HERE, "expected a recipe file, name=value, or --name value")
