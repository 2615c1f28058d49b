"""The peer, llamafactory 0.9.5 from the package index, in an environment of its own with the same torch as Hone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
PEER = "llamafactory==0.9.5"
SCORES = ("jieba", "nltk", "rouge-chinese")
"""What it needs to score answers, and does not bring."""


def peer_command(cache: Path) -> list[str]:
    """The start of the peer's command line; makes its environment when it is missing (minutes, some GB)."""
    given = os.environ.get("HONE_PEER_VENV")
    home = Path(given) if given else cache / "peer-venv"
    if not (home / ".done").exists():
        _make(home)
    return [str(home / "bin" / "llamafactory-cli")]


def _make(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, TORCH, PEER, *SCORES], check=True)
    # Its requirements bring a newer torch for pictures and sound. Both sides are to run on the same one, so that is put
    # back; torchvision goes, and torchaudio (imported, not used) keeps its Python part only.
    subprocess.run([*pip, "--no-deps", TORCH], check=True)
    subprocess.run([*pip[:3], "uninstall", "--quiet", "--yes", "torchvision"], check=True)
    for library in home.glob("lib/python*/site-packages/torchaudio/lib/*.so"):
        library.unlink()
    (home / ".done").touch()
