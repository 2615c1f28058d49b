"""No key is swallowed: what a recipe may set is read somewhere, or handed to transformers."""

from __future__ import annotations

import re
from pathlib import Path

import hone
from hone.recipe.schema import all_keys, training_arguments

PACKAGE = Path(hone.__file__).parent
NO_CHOICE = {"infer_backend"}
"""Keys whose other values are all refused."""


def test_every_key_that_may_be_set_is_read_outside_the_recipe():
    files = (file for file in PACKAGE.rglob("*.py") if "recipe" not in file.relative_to(PACKAGE).parts)
    words = set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))
    may_be_set = {
        name
        for name, key in all_keys().items()
        if not key.about.later and key.section != "export" and name not in training_arguments()
    }
    assert may_be_set - words - NO_CHOICE == set()


def test_a_key_with_one_choice_left_refuses_the_others():
    for name in NO_CHOICE:
        about = all_keys()[name].about
        assert len(set(about.choices) - set(about.later_values)) == 1
