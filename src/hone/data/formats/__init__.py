"""How rows become records. Each module here knows one format; the folder is the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hone import registry
from hone.data.book import Entry
from hone.dialogue.records import Record
from hone.errors import DataError

ToRecord = Callable[[Mapping[str, Any], Entry], Record]


@cache
def load_format(name: str) -> ToRecord:
    """The function that turns a row of this format into a record; it raises RowFault. DataError for an unknown name."""
    try:
        to_record: ToRecord = registry.find(__name__, name).record
    except LookupError as fault:
        raise DataError.one("DATA-FORMAT", f"no such formatting `{name}`", "dataset_info.json", str(fault)) from None
    return to_record
