"""Where models come from: paths stay local, a repository's name while offline is told apart from a wrong one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hone.errors import MachineError, ModelError
from hone.models.source import locate

ASK = """
from hone.models.source import locate
try:
    locate("nobody/nothing")
except Exception as reason:
    print(reason.exit_code, reason)
"""


@pytest.mark.parametrize(
    "changes",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_ENDPOINT": "http://nowhere.invalid"}],
)
def test_a_repository_while_offline_is_refused_within_ten_seconds(changes: dict[str, str], tmp_path: Path) -> None:
    start = time.perf_counter()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HOME": str(tmp_path), **changes}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 10
    assert done.stdout.startswith("4 error[HUB-OFFLINE] nobody/nothing")
    assert "offline" in done.stdout


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/where", "~/nowhere-at-all", "a/b/c", "..", "model.gguf", "what is this"]
)
def test_a_path_that_is_not_there_is_no_question_for_a_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    if Path(name).exists():
        assert locate(name).path == Path(name)
        return
    with pytest.raises(ModelError, match="no such folder or file"):
        locate(name)


def test_a_path_wins_over_a_repository_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    found = locate("gpt2")
    assert (found.path, found.fetched) == (Path("gpt2"), False)


def test_modelscope_without_its_package_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(MachineError, match="pip install modelscope"):
        locate("nobody/nothing")
