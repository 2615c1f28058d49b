"""openMind: data sets by their id. Its library exists for few machines; there is no way to it but that."""

from __future__ import annotations

from pathlib import Path

from hone.data.book import Entry
from hone.data.places import once
from hone.data.places.hf_hub import refusal
from hone.errors import MachineError


def fetch(entry: Entry, folder: Path) -> Path:
    """The folder with the set's rows."""
    try:
        from openmind import OmDataset  # type: ignore[import-not-found]
    except ImportError:
        raise MachineError.one(
            "PACKAGE", "the package openmind is not installed", entry.name, "pip install openmind"
        ) from None
    try:
        made = OmDataset.load_dataset(
            path=entry.location, name=entry.subset, data_dir=entry.folder, split=entry.split, revision=entry.revision
        )
    except Exception as fault:
        raise refusal(entry, fault, offline=False) from None
    return once(folder / str(made._fingerprint), made.save_to_disk)
