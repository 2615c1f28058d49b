"""The models that are listed, and adapters loaded and taken away while the server runs, in vLLM's shapes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from hone.errors import HoneError
from hone.models.adapters import CONFIG, WEIGHTS
from hone.rundir import CARD
from hone.server.fields import Body, check_names, flag
from hone.server.refusal import RefusedError
from hone.server.service import Service

NAME = re.compile(r"[A-Za-z0-9][\w.:/\-]{0,127}", re.ASCII)
MOST = 64
"""Adapters that may be loaded at once."""
LARGEST = 4 * 2**30
"""Bytes of an adapter's weights at most."""
OTHER_BASE = ("ADAPTER-BASE", "MODEL-BASE")


def listed(service: Service) -> list[dict[str, Any]]:
    """The model and the adapters that may be named, as OpenAI lists models."""
    own = {"id": service.name, "object": "model", "created": service.created, "owned_by": "owner"}
    return [own, *({**own, "id": name, "parent": service.name} for name in service.session.encoders)]


def one_model(service: Service, name: str) -> dict[str, Any]:
    """Raises RefusedError."""
    found = next((one for one in listed(service) if one["id"] == name), None)
    if found is None:
        raise RefusedError(f"the model `{name[:256]}` is not served here", "model", status=404, code="model_not_found")
    return found


async def load(service: Service, body: Body) -> str:
    """Load a folder within those that are allowed; what to say. Raises RefusedError.

    `load_inplace` gives a name that is taken to another adapter; answers under way go on with the one before.
    """
    check_names(body, frozenset({"lora_name", "lora_path", "load_inplace"}), {"is_3d_lora_weight": (False,)})
    name, replaces = _name(body), flag(body, "load_inplace")
    folder = _place(service, body.get("lora_path"))
    async with service.loading:
        taken = service.session.encoders
        if name == service.name or (name in taken and not replaces):
            raise RefusedError(f"the name `{name}` is taken; unload it first, or set `load_inplace`", "lora_name")
        if len(taken) >= MOST and name not in taken:
            raise RefusedError(f"{MOST} adapters are loaded; unload one first", "lora_name")
        try:
            await asyncio.to_thread(service.session.load_adapter, name, folder)
        except HoneError as error:
            raise _refused(error) from None
    return f"Success: LoRA adapter '{name}' added successfully."


async def unload(service: Service, body: Body) -> str:
    """Take a name away; what to say. Raises RefusedError."""
    check_names(body, frozenset({"lora_name", "lora_int_id"}), {})
    name = _name(body)
    async with service.loading:
        if name not in service.session.encoders:
            raise RefusedError(f"no adapter `{name}` is loaded", "lora_name", status=404, code="adapter_not_found")
        service.session.unload_adapter(name)
    return f"Success: LoRA adapter '{name}' removed successfully."


def _name(body: Body) -> str:
    name = body.get("lora_name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RefusedError("`lora_name` must be a name of letters, digits, and . _ : / -", "lora_name")
    return name


def _place(service: Service, given: Any) -> Path:
    """The folder, if it and what is read from it lie within an allowed one. Nothing is told of what lies outside."""
    if not service.folders:
        what = "adapters are not loaded here: the server names no folder for them (API_ADAPTER_FOLDERS)"
        raise RefusedError(what, "lora_path", status=403, code="adapter_not_allowed")
    if not isinstance(given, str) or not 0 < len(given) <= 4096 or "\0" in given:
        raise RefusedError("`lora_path` must be the path of a folder", "lora_path")
    outside = RefusedError(
        "`lora_path` is not in an allowed folder", "lora_path", status=403, code="adapter_not_allowed"
    )
    try:
        inside = [(root, found) for root in service.folders if (found := (root / given).resolve()).is_relative_to(root)]
        for root, folder in inside:
            if all(_is_kept(folder / name, root) for name in (CONFIG, WEIGHTS)):
                if not all(_is_kept(folder / name, root) for name in (CARD,) if (folder / name).exists()):
                    raise outside
                return folder
    except (OSError, RuntimeError):  # too long a name, a circle of links
        raise outside from None
    if not inside:
        raise outside
    what = f"there is no adapter of safetensors at `lora_path` ({CONFIG}, {WEIGHTS})"
    raise RefusedError(what, "lora_path", status=404, code="adapter_not_found")


def _is_kept(file: Path, root: Path) -> bool:
    """Whether a file is a plain one within the folder, wherever its links lead."""
    found = file.resolve()
    return found.is_relative_to(root) and found.is_file() and found.stat().st_size <= LARGEST


def _refused(error: HoneError) -> Exception:
    """What is wrong with an adapter, without a word of this machine's folders."""
    fault = error.faults[0]
    if fault.code in OTHER_BASE:
        what = "the adapter was trained on another base model than the one that is served"
        return RefusedError(what, "lora_path", code="adapter_base")
    if fault.code.startswith(
        ("ADAPTER-", "PICKLE", "REMOTE", "SAFETENSORS", "TEMPLATE", "RECIPE-CARD", "ENGINE-ADAPTERS")
    ):
        return RefusedError(fault.what, "lora_path", code="adapter_refused")
    if fault.code == "ENGINE-FULL":
        return error
    return RefusedError("the adapter cannot be read, or does not fit the served model", "lora_path")
