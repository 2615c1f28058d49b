"""The table of keys: each in one section, described, and in step with transformers."""

from __future__ import annotations

import json
from dataclasses import fields

from hone.recipe.schema import SECTIONS, Recipe, all_keys, keys_of, training_arguments
from hone.recipe.values import fit


def test_each_key_belongs_to_exactly_one_section():
    names = [key.name for section, cls in SECTIONS.items() for key in keys_of(section, cls)]
    assert len(names) == len(set(names))


def test_every_key_says_what_it_is():
    assert [key.name for key in all_keys().values() if not key.about.help] == []


def test_every_default_is_a_value_its_key_takes():
    for key in all_keys().values():
        if key.default is not None and key.name != "include_num_input_tokens_seen":  # its `no` is read as false
            assert fit(key, key.default) == key.default, key.name


def test_a_key_read_by_hone_has_the_default_of_transformers():
    snapshot = training_arguments()
    ours = {key.name: key for key in keys_of("training", SECTIONS["training"]) if key.name in snapshot}
    differing = {name for name, key in ours.items() if key.default != snapshot[name]["default"]}
    assert differing == {"output_dir", "report_to"}  # "trainer_output" is what transformers fills in; a list is a tuple


def test_choices_read_by_hone_are_those_of_transformers():
    for key in keys_of("training", SECTIONS["training"]):
        if key.about.choices and key.name in training_arguments():
            assert list(key.about.choices) == training_arguments()[key.name]["choices"]


def test_the_recipe_has_an_attribute_for_every_section():
    assert set(SECTIONS) <= {each.name for each in fields(Recipe)}


def test_the_snapshot_equals_the_installed_library():
    from hone.cli.snapshot import render

    assert json.loads(render()) == dict(training_arguments()), "run python -m hone.cli.snapshot"


def test_our_words_about_training_arguments_name_only_existing_ones():
    import tomllib
    from pathlib import Path

    import hone.recipe.schema as schema

    told = tomllib.loads((Path(schema.__file__).parent / "training_arguments.toml").read_text(encoding="utf-8"))
    assert set(told) <= set(training_arguments())
