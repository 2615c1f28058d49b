"""The conformance run: a tally for each test. The table at the end is printed from the conftest above."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests beside this file can say `from corpus import …`

import corpus


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> corpus.Tally:
    """Where a test records `tally.record(family, case id, outcome)` or `tally.judge(family, case id, fault)`."""
    return corpus.Tally(request.node.user_properties)
