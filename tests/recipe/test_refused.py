"""Every key that users of LLaMA-Factory have is known; what is not honoured is refused, with its reason on a page.

`HONE_WRITE_KEYS=1` writes the list into docs/compatibility.md anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hone.errors import RecipeError
from hone.recipe import settle
from hone.recipe.aliases import OLD
from hone.recipe.schema import Key, all_keys

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
CORPUS = Path(os.environ.get("HONE_CORPUS") or ROOT.parent / "shared" / "conformance")
FACTS = CORPUS.parent / "spec" / "behaviour.md"
HEAD, END = "<!-- refused keys: tests/recipe/test_refused.py -->", "<!-- end of refused keys -->"


def refused() -> Iterator[tuple[str, str]]:
    """Each key, or value of a key, that cannot be set, and why."""
    for name, key in all_keys().items():
        if key.about.later:
            yield name, key.about.later
        for value, why in key.about.later_values.items():
            yield f"{name}: {value}", why


def table() -> str:
    """The keys of one reason in one row."""
    reasons: dict[str, list[str]] = {}
    for name, why in refused():
        reasons.setdefault(why, []).append(f"`{name}`")
    rows = [f"| {', '.join(names)} | {why} |" for why, names in reasons.items()]
    return "\n".join([HEAD, "| key | why |", "|---|---|", *rows, END])


def test_the_page_lists_every_refused_key_with_its_reason() -> None:
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(HEAD)
    found, _, after = rest.partition(END)
    if os.environ.get("HONE_WRITE_KEYS"):
        PAGE.write_text(before + table() + after, "utf-8")
        return
    assert HEAD + found + END == table(), "HONE_WRITE_KEYS=1 writes it anew"


@pytest.mark.skipif(not FACTS.is_file(), reason=f"no list of the field's keys at {FACTS}")
def test_every_key_of_the_field_is_known() -> None:
    arguments = FACTS.read_text("utf-8").partition("## 2. Arguments")[2].partition("### 2.9")[0]
    listed = re.findall(r"^\| ([a-z_0-9]+) \|", arguments, re.MULTILINE)
    assert len(listed) > 200
    assert [name for name in listed if name not in all_keys() and name not in OLD] == []


def another(key: Key) -> object:
    """A value that is not the default."""
    if key.about.choices:
        return next(value for value in key.about.choices if value != key.default)
    if "bool" in key.kinds:
        return not key.default
    if {"int", "float"} & set(key.kinds):
        tries = ((key.default or 0) + 1, 4, 0.5)
        return next(value for value in tries if key.about.limits is None or key.about.limits.allow(value))
    return {"x": 1} if "dict" in key.kinds and "str" not in key.kinds else "x"


@pytest.mark.parametrize("name", [name for name, key in all_keys().items() if key.about.later])
def test_a_key_that_is_not_honoured_is_never_swallowed(name: str) -> None:
    key = all_keys()[name]
    verb = {"export": "export", "evaluation": "eval"}.get(key.section, "train")
    settings = {"export": {"export_dir": "e"}, "eval": {"task": "mmlu_test", "task_dir": "t"}}
    usual = settings.get(verb, {"dataset": "d", "do_train": True})
    with pytest.raises(RecipeError) as caught:
        settle({"model_name_or_path": "m", **usual, name: another(key)}, verb=verb)
    codes = {fault.code for fault in caught.value.faults if name in fault.what}
    assert codes == {"CFG-LATER" if key.kinds != ("null",) else "CFG-VALUE"}, caught.value.faults
