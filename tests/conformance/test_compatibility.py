"""docs/compatibility.md and the list of deliberate differences say the same, and each difference has its test."""

from __future__ import annotations

from corpus import REPOSITORY, differences


def test_every_difference_is_told_with_its_reason() -> None:
    told = (REPOSITORY / "docs" / "compatibility.md").read_text(encoding="utf-8")
    missing = [one.name for one in differences() if f"### {one.name}" not in told or one.reason not in told]
    assert missing == []


def test_every_rule_is_there() -> None:
    """A difference without a rule names its cases one by one."""
    for one in differences():
        if one.rule:
            module, _, name = one.rule.partition(".")
            source = (REPOSITORY / "tests" / "conformance" / f"{module}.py").read_text(encoding="utf-8")
            assert f"def {name}(" in source, one.name


def test_every_difference_has_a_test_of_its_own() -> None:
    for one in differences():
        file, _, name = one.test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (REPOSITORY / file).read_text(encoding="utf-8"), one.name
