"""Fixtures of the models' tests: sections, weights compared, and model folders to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def same_weights() -> Callable[[Any, Any], None]:
    """Assert that two models have the same parameters, bit for bit."""

    def check(one: Any, other: Any) -> None:
        import torch

        left, right = one.state_dict(), other.state_dict()
        assert left.keys() == right.keys()
        wrong = [name for name in left if not torch.equal(left[name], right[name])]
        assert wrong == []

    return check


@pytest.fixture
def folder(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny llama, to damage."""
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))
