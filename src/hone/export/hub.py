"""A finished export sent to a hub: Hugging Face's, or ModelScope's with USE_MODELSCOPE_HUB. The folder here stays."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

from hone.errors import MachineError, RecipeError
from hone.log import say

KEY = "export_hub_model_id"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]*(?:/[A-Za-z0-9][\w.\-]*)?")
MESSAGE = "A model exported by Hone"


def _modelscope() -> bool:
    return os.environ.get("USE_MODELSCOPE_HUB", "0").lower() in ("1", "true", "y")


def check(repository: str) -> None:
    """Say before any work what cannot be sent. Raises RecipeError for a name that is none, MachineError for a missing
    package."""
    if not REPOSITORY.fullmatch(repository):
        raise RecipeError.one("CFG-VALUE", f"{repository!r} is no repository's name", KEY, "write it as you/model")
    if _modelscope() and importlib.util.find_spec("modelscope") is None:
        raise MachineError.one("HUB-PUSH", "the package modelscope is not installed", KEY, "pip install modelscope")


def send(folder: Path, repository: str, *, token: str | None) -> None:
    """Send all files of the folder; the repository is made where it is missing: on Hugging Face's hub as private or
    open as its owner's new ones are, on ModelScope private. Raises MachineError, in whose words the token does not
    appear."""
    try:
        address = _to_modelscope(folder, repository) if _modelscope() else _to_hugging_face(folder, repository, token)
    except Exception as reason:  # each hub fails in its own ways
        text = f"{type(reason).__name__}: {reason}".splitlines()[0]
        for secret in filter(None, (token, os.environ.get("MODELSCOPE_API_TOKEN"))):
            text = text.replace(secret, "***")
        program = "modelscope" if _modelscope() else "hf"
        raise MachineError.one(
            "HUB-PUSH", f"the model is whole in {folder} but could not be sent to {repository} ({text})", KEY,
            f"see to the network and the token, then: {program} upload {repository} {folder}",
        ) from None  # fmt: skip
    say(f"the model is at {address}")


def _to_hugging_face(folder: Path, repository: str, token: str | None) -> str:
    from huggingface_hub import HfApi

    hub = HfApi(token=token)
    made = hub.create_repo(repository, exist_ok=True)
    hub.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=MESSAGE)
    return str(made)


def _to_modelscope(folder: Path, repository: str) -> str:
    from modelscope.hub.api import HubApi  # type: ignore[import-not-found]

    hub = HubApi()
    token = os.environ.get("MODELSCOPE_API_TOKEN")
    # Its own defaults are a repository open to everyone, under a licence that nobody chose.
    made = {"visibility": "private", "license": "Other"}
    hub.create_repo(repo_id=repository, repo_type="model", token=token, exist_ok=True, **made)
    with redirect_stdout(sys.stderr):  # it prints a report
        hub.upload_folder(repo_id=repository, folder_path=str(folder), commit_message=MESSAGE, token=token)
    (folder / ".ms_upload_cache").unlink(missing_ok=True)  # by which it would go on after a failure
    return f"{hub.endpoint}/models/{repository} (made private, if it is new)"
