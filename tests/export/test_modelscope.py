"""Sending an export to ModelScope, by its own package to a hub on this machine."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from hone.errors import MachineError
from hone.export.hub import check, send

TOKEN = "ms-s3cret-s3cret"

pytest.importorskip("modelscope", reason="the package modelscope is not installed")


@pytest.fixture
def hub(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    """A hub in the words of ModelScope's, with what it was given in `made`, `stored` and `commits`."""
    app: Any = FastAPI()
    app.made, app.stored, app.commits, app.refuses, app.refused = [], {}, [], False, 0

    @app.post("/api/v1/models")
    async def create(request: Request) -> JSONResponse:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        if app.refuses:
            app.refused += 1
            told = {"Code": 401, "Message": f"no access with {TOKEN}", "Success": False}
            return JSONResponse(told, status_code=401)
        if app.made:
            return JSONResponse({"Code": 409, "Message": "it already exists", "Success": False}, status_code=409)
        app.made.append(await request.json())
        return JSONResponse({"Code": 200, "Success": True, "Data": {"Name": "tuned", "Path": "me"}})

    @app.post("/api/v1/repos/models/me/tuned/info/lfs/objects/batch")
    async def large(request: Request) -> dict[str, Any]:
        asked = (await request.json())["objects"]
        place = f"{request.base_url}store"
        objects = [{**one, "actions": {"upload": {"href": f"{place}/{one['oid']}"}}} for one in asked]
        return {"Code": 200, "Success": True, "Data": {"objects": objects}}

    @app.put("/store/{oid}")
    async def store(oid: str, request: Request) -> dict[str, Any]:
        app.stored[oid] = await request.body()
        return {"Code": 200, "Success": True, "Data": {}}

    @app.post("/api/v1/repos/models/me/tuned/commit/master")
    async def commit(request: Request) -> dict[str, Any]:
        app.commits.append(await request.json())
        return {"Code": 200, "Success": True, "Data": {"Oid": "1" * 40}}

    from modelscope_hub.config import set_default_config

    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    with serve(app) as address:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", address)
        set_default_config(None)  # it keeps the address it first read
        yield app
        set_default_config(None)


def test_all_files_arrive_and_the_repository_is_private(hub: Any, tiny_model: Any, tmp_path: Path, capsys: Any) -> None:
    folder = Path(shutil.copytree(tiny_model("llama"), tmp_path / "out"))
    check("me/tuned")
    send(folder, "me/tuned", token=None)
    (made,) = hub.made
    assert (made["Visibility"], made["License"]) == (1, "Other")  # 1 is private
    sent: dict[str, bytes] = {}
    for action in (action for commit in hub.commits for action in commit["actions"]):
        whole = base64.b64decode(action["content"]) if action["type"] == "normal" else hub.stored[action["sha256"]]
        sent[action["path"]] = whole
    assert sent == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert all(hashlib.sha256(whole).hexdigest() == oid for oid, whole in hub.stored.items()) and hub.stored
    shown = capsys.readouterr()
    assert "/models/me/tuned" in shown.err and not shown.out


def test_a_refusal_is_told_without_the_token(hub: Any, tiny_model: Any) -> None:
    hub.refuses = True
    with pytest.raises(MachineError, match="modelscope upload me/tuned") as told:
        send(tiny_model("llama"), "me/tuned", token=None)
    assert hub.refused and TOKEN not in str(told.value)
