"""Whatever is written, a recipe is settled or refused with faults; nothing else is raised."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hone.errors import RecipeError
from hone.recipe import read_recipe, settle
from hone.recipe.schema import all_keys

KEYS = st.sampled_from(sorted(all_keys()))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
PIECES = st.sampled_from(
    ["lora_rank", ": ", "\n", "- ", "[", "]", "{", "}", "&a ", "*a", "<<", "!!", "1e-4", "'", '"', "|", ">", "#", "\t"]
)
CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@CALM
@given(st.dictionaries(KEYS | st.text(max_size=10), VALUES, max_size=6))
def test_any_dictionary(values):
    with contextlib.suppress(RecipeError):
        settle(values, verb="train")


@CALM
@given(st.binary(max_size=200) | st.lists(PIECES, max_size=30).map(lambda parts: "".join(parts).encode()))
@pytest.mark.parametrize("name", ["any.yaml", "any.json"])
def test_any_file(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_recipe([str(file)], verb="chat")
    assert caught.value.faults


@CALM
@given(st.lists(st.text(max_size=8) | KEYS.map("--{}".format) | KEYS.map("{}=1".format), max_size=6))
def test_any_words(words):
    with contextlib.suppress(RecipeError):
        read_recipe(words, verb="train")
