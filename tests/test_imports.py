"""Libraries are brought in without what a run does not use, and what is used after all works as ever."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hone.imports import absent, alone
from hone.imports.hooks import during_import
from hone.imports.structure import remembering

ASLEEP = """
import json, os, sys
from hone.imports import lighten
lighten()
early = sorted({"torch", "transformers", "peft"} & set(sys.modules))
import peft
import hone.runs.session
import torch
import hone.training.lean
from accelerate.utils import extract_model_from_parallel
from torch import nn

dynamo, shards = sys.modules["torch._dynamo"], sys.modules["torch.distributed.tensor"]
told = {"kinds": [type(dynamo).__name__, type(shards).__name__], "bitsandbytes": "bitsandbytes" in sys.modules}
told["inductor"] = "torch._inductor" in sys.modules
told["early"] = early

@torch.compiler.disable
def twice(x):
    return 2 * x

layer = nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
extract_model_from_parallel(layer)
told["still"] = sys.modules["torch._dynamo"] is dynamo and sys.modules["torch.distributed.tensor"] is shards

compiled = torch.compile(lambda x: twice(x + 1) - 1, backend="eager")
told["compiled"] = compiled(torch.ones(2)).tolist()
told["awake"] = [sys.modules["torch._dynamo"] is not dynamo, torch._dynamo is sys.modules["torch._dynamo"]]
told["module"] = type(torch.compile(layer, backend="eager")) is torch._dynamo.eval_frame.OptimizedModule
from torch.distributed.tensor import Shard
told["shard"] = Shard(0).dim
print(json.dumps(told))
"""


def test_torch_sleeps_until_it_is_asked() -> None:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run([sys.executable, "-c", ASLEEP], capture_output=True, text=True, env=surroundings, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "kinds": ["Compiler", "Shards"],
        "bitsandbytes": False,
        "inductor": False,
        "early": [],
        "still": True,
        "compiled": [3.0, 3.0],
        "awake": [True, True],
        "module": True,
        "shard": 0,
    }


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "ACCELERATE_USE_FSDP"])
def test_a_process_that_was_launched_is_not_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("RANK", "WORLD_SIZE", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        monkeypatch.delenv(other, raising=False)
    assert alone()
    monkeypatch.setenv(name, "1")
    assert not alone()


def test_a_package_is_absent_only_for_a_while() -> None:
    sys.modules.pop("this", None)
    with absent("this"):
        assert importlib.util.find_spec("this") is None
        with pytest.raises(ImportError):
            importlib.import_module("this")
    assert importlib.util.find_spec("this") is not None
    with absent("json"):  # one that is here stays
        assert importlib.import_module("json") is json


def test_an_import_is_surrounded_once_and_no_question_for_the_module_uses_that_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "surrounded_module.py").write_text("import json\nseen = list(json.told)")
    told: list[str] = []
    monkeypatch.setattr(json, "told", told, raising=False)

    @contextmanager
    def surroundings() -> Iterator[None]:
        told.append("before")
        yield
        told.append("after")

    try:
        for _ in range(2):
            during_import("surrounded_module", surroundings)
        assert importlib.util.find_spec("surrounded_module") is not None
        assert told == []
        assert importlib.import_module("surrounded_module").seen == ["before"]
        assert told == ["before", "after"]
        during_import("surrounded_module", surroundings)  # too late: it is here
        importlib.reload(sys.modules["surrounded_module"])
        assert told == ["before", "after"]
    finally:
        sys.modules.pop("surrounded_module", None)


def test_what_transformers_exports_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import import_utils

    monkeypatch.setenv("HONE_CACHE", str(tmp_path))
    folder = Path(import_utils.__file__).parent.parent / "models"
    whole = import_utils.spread_import_structure(import_utils.create_import_structure_from_path(str(folder)))
    assert remembering(lambda *_: whole)(folder) == whole
    kept = remembering(_never)
    assert kept(str(folder / "__init__.py")) == whole
    assert kept(folder, prefix="models") == {
        needs: {f"models.{name}": names for name, names in held.items()} for needs, held in whole.items()
    }


def test_a_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "import_utils.py").touch()
    file = tmp_path / "models" / "one" / "modeling_one.py"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    first: dict[frozenset[str], Any] = {frozenset(): {"one.modeling_one": {"A"}}}
    assert remembering(lambda *_: first)(tmp_path / "models") == first
    assert remembering(_never)(tmp_path / "models") == first
    file.write_text("ab")
    second: dict[frozenset[str], Any] = {frozenset({"torch"}): {"one.modeling_one": {"B"}}}
    assert remembering(lambda *_: second)(tmp_path / "models") == second
    for size in range(3, 12):
        file.write_text("a" * size)
        assert remembering(lambda *_: second)(tmp_path / "models") == second
    assert len(list((tmp_path / "cache" / "imports").iterdir())) == 4


def test_a_broken_cache_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    found: dict[frozenset[str], Any] = {frozenset(): {}}
    assert remembering(lambda *_: found)(tmp_path / "models") == found


def _never(*_: Any) -> Any:
    raise AssertionError("it was asked again")
