"""The Hugging Face hub: data sets by their id, with subset, split, folder and revision."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hone.data.book import Entry
from hone.data.places import once
from hone.errors import DataError, HoneError, MachineError

SECONDS = 5
"""How long the hub may take to answer at all; afterwards this machine counts as offline."""


def fetch(entry: Entry, folder: Path) -> Path:
    """The folder with the set's rows. Offline, what the library has in its own cache is taken."""
    import datasets

    offline = not _answers(entry.location)
    try:
        made = _within_cache(datasets, offline)(
            entry.location, name=entry.subset, data_dir=entry.folder, split=entry.split, revision=entry.revision
        )
    except Exception as fault:
        raise refusal(entry, fault, offline=offline) from None
    return once(folder / str(made._fingerprint), made.save_to_disk)


def fetch_book(repository: str) -> Path:
    """The `dataset_info.json` of a data repository (`dataset_dir: REMOTE:<repository>`)."""
    from huggingface_hub import hf_hub_download

    offline = not _answers(repository)
    try:
        return Path(hf_hub_download(repository, "dataset_info.json", repo_type="dataset", local_files_only=offline))
    except Exception as fault:
        raise refusal(Entry("dataset_dir", "hf_hub", repository), fault, offline=offline) from None


def refusal(entry: Entry, fault: Exception, *, offline: bool) -> HoneError:
    """What the library says, said in one line."""
    if offline:
        what = f"`{entry.location}` is not in the cache and the hub cannot be reached: this machine is offline"
        fix = "connect once (and unset HF_HUB_OFFLINE), or name a file"
        return MachineError.one("HUB-OFFLINE", what, entry.name, fix)
    said = (str(fault).strip() or type(fault).__name__).splitlines()[0][:200]
    fix = "check the name, subset and split; for a closed set set HF_TOKEN"
    return DataError.one("DATA-HUB", f"`{entry.location}` cannot be fetched ({said})", entry.name, fix)


def _within_cache(datasets: Any, offline: bool) -> Callable[..., Any]:
    """`load_dataset`, told not to try and try again where nobody answers."""
    if offline:
        from huggingface_hub import constants

        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    return datasets.load_dataset  # type: ignore[no-any-return]


def _answers(repository: str) -> bool:
    """Whether the hub answers at all, be it that there is no such repository."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return False
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        pool.submit(HfApi().dataset_info, repository, timeout=SECONDS).result(timeout=SECONDS)
    except (GatedRepoError, RepositoryNotFoundError):
        return True
    except Exception:
        # Not the hub's own words: a gateway's, or nobody's.
        return False
    finally:
        # Name resolution knows no time limit of its own: not waited for.
        pool.shutdown(wait=False, cancel_futures=True)
    return True
