"""Every example recipe settles for the verb its README line names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hone.recipe import read_recipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"`hone (\w+) (examples/\S+\.(?:yaml|json))`", README)


@pytest.mark.parametrize(("verb", "file"), COMMANDS)
def test_an_example_settles(verb, file, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert read_recipe([file], verb=verb).model.model_name_or_path


def test_every_example_has_its_line():
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "examples").rglob("*.yaml")}
    assert {file for _, file in COMMANDS} == files


def test_every_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / "examples" / link).is_file()] == []
