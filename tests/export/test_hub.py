"""Sending an export to a hub: all of it in one commit; when that fails the export here is whole, the token untold."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request

from hone.cli.main import main

TOKEN = "hf_" + "s3cret" * 6


def export(folder: Path, target: Path, repository: str = "me/tuned") -> int:
    words = ["--model_name_or_path", str(folder), "--export_dir", str(target), "--export_check", "false"]
    return main(["export", *words, "--export_hub_model_id", repository, "--hf_hub_token", TOKEN])


def test_all_files_arrive_in_one_commit_with_the_token(tiny_model, serve, tmp_path, monkeypatch) -> None:
    from huggingface_hub import constants

    hub, commits = FastAPI(), []

    @hub.post("/api/repos/create")
    async def create(request: Request) -> dict[str, Any]:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        return {"url": f"{constants.ENDPOINT}/me/{(await request.json())['name']}"}

    @hub.post("/api/models/me/tuned/preupload/main")
    async def kinds(request: Request) -> dict[str, Any]:
        files = (await request.json())["files"]
        return {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}

    @hub.post("/api/models/me/tuned/commit/main")
    async def commit(request: Request) -> dict[str, Any]:
        commits.append([json.loads(line) for line in (await request.body()).splitlines()])
        return {"commitUrl": f"{constants.ENDPOINT}/me/tuned/commit/1", "commitOid": "1", "success": True}

    with serve(hub) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        assert export(tiny_model("llama"), tmp_path / "out") == 0
    (lines,) = commits
    sent = {one["value"]["path"]: one["value"]["content"] for one in lines if one["key"] == "file"}
    here = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {name: base64.b64decode(text) for name, text in sent.items()} == here
    assert "model.safetensors" in here


def test_without_a_hub_the_export_stays_and_the_token_is_not_told(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from huggingface_hub import constants

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert export(tiny_model("llama"), tmp_path / "out") == 6
    shown = capsys.readouterr()
    assert "HUB-PUSH" in shown.err and "hf upload me/tuned" in shown.err and TOKEN not in shown.err + shown.out
    assert (tmp_path / "out/model.safetensors").is_file()


def test_a_name_that_is_none_is_refused_before_the_export(tiny_model, tmp_path, capsys) -> None:
    assert export(tiny_model("llama"), tmp_path / "out", "../me") == 2
    assert "no repository's name" in capsys.readouterr().err and not (tmp_path / "out").exists()
