"""The folder is the registry."""

from __future__ import annotations

import pytest

from hone.registry import find, names


def test_names_come_from_the_folder_without_importing():
    assert {"main", "launch"} <= set(names("hone.cli"))
    assert "llama3" in names("hone.dialogue.templates", ".toml")
    assert names("hone.no.such.folder") == ()


def test_a_name_stands_for_its_module():
    assert find("hone.cli", "launch").__name__ == "hone.cli.launch"


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(LookupError, match="did you mean launch"):
        find("hone.cli", "lunch")
    with pytest.raises(LookupError):
        find("hone.cli", "../errors")
