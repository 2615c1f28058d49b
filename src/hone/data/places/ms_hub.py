"""ModelScope: data sets by their id, through its own library."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hone.data.book import Entry
from hone.data.places import once
from hone.data.places.hf_hub import refusal
from hone.errors import MachineError


def fetch(entry: Entry, folder: Path) -> Path:
    """The folder with the set's rows. Fetched once for each id, subset, split, folder and revision."""
    try:
        from modelscope.msdatasets import MsDataset
    except ImportError:
        raise MachineError.one(
            "PACKAGE", "the package modelscope is not installed", entry.name, "pip install modelscope"
        ) from None
    wanted = repr((entry.location, entry.subset, entry.split, entry.folder, entry.revision))
    place = folder / f"ms-{hashlib.sha256(wanted.encode()).hexdigest()[:24]}"
    if place.exists():
        return place
    try:
        made = MsDataset.load(
            entry.location, subset_name=entry.subset, data_dir=entry.folder, split=entry.split,
            version=entry.revision or "master",
        )  # fmt: skip
        rows = made.to_hf_dataset() if isinstance(made, MsDataset) else made
    except Exception as fault:
        raise refusal(entry, fault, offline=False) from None
    return once(place, rows.save_to_disk)
