"""The reference is made from the schema: page, terminal help and JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from hone.recipe.aliases import OLD
from hone.recipe.reference import json_schema, markdown, terminal_help
from hone.recipe.schema import SECTIONS, all_keys

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8") == markdown(), "run `hone docs docs/recipe.md`"


def test_terminal_help_lists_every_key_once():
    text = terminal_help("train", SECTIONS)
    assert [name for name in all_keys() if text.count(f"  --{name} (") != 1] == []


def test_the_json_schema_knows_every_key_old_ones_as_deprecated():
    schema = json.loads(json.dumps(json_schema()))
    assert set(schema["properties"]) == {*all_keys(), *OLD}
    assert schema["properties"]["evaluation_strategy"]["deprecated"]
    assert schema["properties"]["lora_rank"] == {
        "type": "integer",
        "minimum": 1,
        "description": "Rank of the adapter's matrices. Must be >= 1.",
        "default": 8,
    }
    assert schema["properties"]["stage"]["enum"] == ["pt", "sft", "rm", "ppo", "dpo", "kto", "grpo"]


def test_the_examples_use_only_keys_of_the_schema():
    for file in (ROOT / "examples").rglob("*.yaml"):
        assert set(yaml.safe_load(file.read_text(encoding="utf-8"))) <= set(json_schema()["properties"]), file
