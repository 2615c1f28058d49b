"""The weights of a model folder: one safetensors file, or several that an index lists; never a pickle."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hone.errors import Fault, ModelError
from hone.models.json_file import read_json
from hone.models.safetensors_header import StoredTensor, read_header

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth")


def read_weights(folder: Path) -> Mapping[str, StoredTensor]:
    """All tensors of a folder's safetensors by name. ModelError for pickles, broken files, and an index that lies."""
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if (folder / INDEX).is_file():
        return _read_shards(folder)
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelError.one(
            "PICKLE-REFUSED", f"the weights are pickles ({', '.join(pickles[:3])}), which can run code", str(folder),
            "use the model's safetensors; or, in a place without secrets, read them with torch.load(weights_only=True) "
            "and write them with safetensors.torch.save_file",
        )  # fmt: skip
    raise ModelError.one(
        "MODEL-WEIGHTS", f"the folder holds no {SINGLE}", str(folder), "point at the folder that holds the weights"
    )


def _read_shards(folder: Path) -> Mapping[str, StoredTensor]:
    path = folder / INDEX
    listed = read_json(path).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(value, str) for value in listed.values()):
        raise ModelError.one("MODEL-INDEX", "the index has no weight_map of names", str(path), "fetch the file again")
    faults: list[Fault] = []
    tensors: dict[str, StoredTensor] = {}
    home: dict[str, str] = {}
    for shard in sorted(set(listed.values())):
        if not re.fullmatch(r"[\w][\w.\-]*\.safetensors", shard):
            faults.append(Fault("MODEL-INDEX", f"the shard {shard!r} is not a file of this folder", str(path)))
        elif not (folder / shard).is_file():
            faults.append(Fault("MODEL-INDEX", f"the shard {shard} is missing", str(path), "fetch it"))
        else:
            for name, tensor in read_header(folder / shard).items():
                if name in home:
                    what = f"the tensor {name} is in two shards, {home[name]} and {shard}"
                    faults.append(Fault("MODEL-INDEX", what, str(path)))
                home[name], tensors[name] = shard, tensor
    ModelError.all_of(faults)
    ModelError.all_of(_misplaced(listed, home, path))
    return tensors


def _misplaced(listed: Mapping[str, str], home: Mapping[str, str], path: Path) -> Iterator[Fault]:
    wrong = [name for name, shard in listed.items() if home.get(name) != shard]
    if wrong:
        yield Fault("MODEL-INDEX", f"the tensor {wrong[0]} is not in {listed[wrong[0]]} as the index says", str(path))
    unlisted = sorted(home.keys() - listed.keys())
    if unlisted:
        yield Fault("MODEL-INDEX", f"the tensor {unlisted[0]} of {home[unlisted[0]]} is not in the index", str(path))
