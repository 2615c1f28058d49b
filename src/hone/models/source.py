"""Where a model comes from: a folder, a GGUF file, or a repository of the Hugging Face hub or ModelScope."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import MachineError, ModelError

if TYPE_CHECKING:
    from hone.recipe import ModelSection

HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(?:/[A-Za-z0-9][\w.\-]*)?")
SECONDS = 8
"""How long the hub may take to answer at all; afterwards this machine counts as offline."""

WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.tiktoken", "vocab.txt", "merges.txt"]
"""No pickles, no Python."""


@dataclass(frozen=True)
class Source:
    """A model on this machine: its `path` (a folder or a GGUF file), and whether Hone itself brought it from a hub."""

    path: Path
    fetched: bool = False


def find_source(model: ModelSection) -> Source:
    """Where the base model lies, fetched first if it is a repository's. Raises ModelError."""
    if not model.model_name_or_path:
        raise ModelError.one("MODEL-PATH", "no model is named", "model_name_or_path", "name a folder or a repository")
    return locate(
        model.model_name_or_path,
        revision=model.model_revision,
        token=model.hf_hub_token,
        cache_dir=model.cache_dir,
        with_code=model.trust_remote_code,
    )


def locate(
    name: str,
    *,
    revision: str = "main",
    token: str | None = None,
    cache_dir: str | None = None,
    with_code: bool = False,
    key: str = "model_name_or_path",
) -> Source:
    """The model's files on this machine, fetched first when the name is a repository's.

    A path never touches the network. `with_code` also fetches Python files (only for trust_remote_code).
    Raises ModelError for a path that is not there, an unknown or closed repository, or a repository while offline.
    """
    path = Path(name).expanduser()
    if path.exists():
        return Source(path)
    if not HUB_ID.fullmatch(name) or path.is_absolute() or name.endswith(".gguf"):
        raise ModelError.one("MODEL-PATH", f"there is no such folder or file: {name}", key, "check the spelling")
    patterns = [*WANTED, "*.py"] if with_code else WANTED
    if os.environ.get("USE_MODELSCOPE_HUB", "0").lower() in ("1", "true", "y"):
        return Source(_modelscope(name, revision, cache_dir, patterns), fetched=True)
    return Source(_hugging_face(name, revision, token, cache_dir, patterns, key), fetched=True)


def _hugging_face(
    name: str, revision: str, token: str | None, cache_dir: str | None, patterns: list[str], key: str
) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(*, local: bool) -> Path:
        found = snapshot_download(
            name, revision=revision, token=token, cache_dir=cache_dir, allow_patterns=patterns, local_files_only=local
        )
        return Path(found)

    if not _answers(name, revision, token, key):
        return _cached(name, fetch, key)
    try:
        return fetch(local=False)
    except Exception as reason:
        raise MachineError.one(
            "HUB-FETCH", f"{name} could not be fetched whole ({reason})", key,
            "see whether the disk has room, then run again: what is already here is kept",
        ) from reason  # fmt: skip


def _answers(name: str, revision: str, token: str | None, key: str) -> bool:
    """Whether the hub can be reached and knows the repository. ModelError when it says no."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        _within(SECONDS, lambda: HfApi(token=token).model_info(name, revision=revision, timeout=SECONDS))
    except GatedRepoError:
        raise ModelError.one(
            "MODEL-HUB", f"{name} is closed until its licence is accepted", key,
            "accept it on the model's page and give hf_hub_token",
        ) from None  # fmt: skip
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise ModelError.one(
            "MODEL-HUB", f"{name} is not on the hub (revision {revision})", key, "check the name, or give hf_hub_token"
        ) from None
    except (Late, OSError):
        return False
    except Exception as reason:
        if type(reason).__module__.startswith(("httpx", "httpcore", "huggingface_hub")):
            return False
        raise
    return True


def _cached(name: str, fetch: Callable[..., Path], key: str) -> Path:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = fetch(local=True)
    except (LocalEntryNotFoundError, OSError, ValueError):
        found = None
    if found is None or not any((found / file).exists() for file in ("config.json", "adapter_config.json")):
        raise ModelError.one(
            "HUB-OFFLINE", f"{name} is not in the cache and the hub cannot be reached: this machine is offline", key,
            "connect once (and unset HF_HUB_OFFLINE), or give the path of a folder",
        )  # fmt: skip
    return found


def _within(seconds: float, ask: Callable[[], Any]) -> Any:
    """The answer, or Late: name resolution knows no time limit of its own."""
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(ask).result(timeout=seconds)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _modelscope(name: str, revision: str, cache_dir: str | None, patterns: list[str]) -> Path:
    try:
        from modelscope import snapshot_download  # type: ignore[import-not-found]
    except ImportError:
        raise MachineError.one(
            "MODELSCOPE", "USE_MODELSCOPE_HUB is set, but the package modelscope is not installed", name,
            "pip install modelscope",
        ) from None  # fmt: skip
    try:
        branch = "master" if revision == "main" else revision
        return Path(snapshot_download(name, revision=branch, cache_dir=cache_dir, allow_patterns=patterns))
    except Exception as reason:
        raise ModelError.one(
            "MODEL-HUB", f"{name} could not be fetched from ModelScope ({reason})", "model_name_or_path",
            "check the name and the connection, or give the path of a folder",
        ) from reason  # fmt: skip
