"""No key is swallowed: what a recipe may set is read somewhere, or handed to transformers."""

from __future__ import annotations

import re
from pathlib import Path

import hone
from hone.recipe.schema import all_keys, training_arguments

PACKAGE = Path(hone.__file__).parent


def test_every_key_that_may_be_set_is_read_outside_the_recipe():
    files = (file for file in PACKAGE.rglob("*.py") if "recipe" not in file.relative_to(PACKAGE).parts)
    words = set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))
    may_be_set = {
        name
        for name, key in all_keys().items()
        if not key.about.later and key.section != "export" and name not in training_arguments()
    }
    assert may_be_set - words == set()
