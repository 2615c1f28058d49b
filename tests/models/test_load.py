"""Loading a base model: every family whole and exact, local paths without the network, hostile folders refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hone.errors import ModelError
from hone.models.load import _read, load_model
from hone.models.tokenizer import load_tokenizer
from hone.recipe import ModelSection

CPU = torch.device("cpu")
FAMILIES = ("llama", "llama_tied", "qwen2", "qwen3", "mistral", "gemma", "gemma3", "phi3")


def load(folder: Path | str, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    return load_model(ModelSection(model_name_or_path=str(folder), **changes), dtype=dtype, device=CPU)


def change(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text("utf-8"))
    content.update(changes)
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}), "utf-8")


def write_index(folder: Path, **changes: str) -> dict[str, str]:
    """Cut the folder's weights into two shards with an index; changes alter the index alone."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / shard, metadata={"format": "pt"})
    listed = {name: shard for shard, held in shards.items() for name in held} | changes
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return listed


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_with_the_weights_that_lie_on_disk(tiny_model: Callable[[str], Path], family: str) -> None:
    folder = tiny_model(family)
    model = load(folder)
    stored = load_file(folder / "model.safetensors")
    parameters = dict(model.named_parameters())
    assert parameters.keys() == stored.keys()
    assert all(torch.equal(parameters[name], stored[name]) for name in stored)
    assert not model.training


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_computed_while_loading_is_what_the_library_computes(
    tiny_model: Callable[[str], Path], family: str
) -> None:
    """Rotary frequencies, and whatever else no file holds."""
    from transformers import AutoModelForCausalLM

    folder = tiny_model(family)
    right = dict(AutoModelForCausalLM.from_pretrained(folder).named_buffers())
    found = dict(load(folder).named_buffers())
    assert found.keys() == right.keys() and found
    assert all(torch.equal(found[name], right[name]) for name in right)


def test_an_architecture_that_needs_it_is_loaded_in_the_librarys_own_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn:
        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> torch.Tensor:
            with torch.device("meta"):
                return torch.ones(3) + torch.arange(3)

    monkeypatch.setattr("hone.models.load.auto_class", lambda _: Stubborn)
    assert _read(folder, {}).is_meta


def test_sympy_is_not_needed_to_load_a_model(folder: Path) -> None:
    program = (
        "import sys; from hone.imports import lighten; lighten()\n"
        "import torch; from hone.models.load import load_model; from hone.recipe import ModelSection\n"
        "model = ModelSection(model_name_or_path=sys.argv[1])\n"
        "load_model(model, dtype=torch.float32, device=torch.device('cpu'))\n"
        "print('sympy' in sys.modules)\n"
        "with torch.device('meta'): print(torch.arange(3).device)"
    )
    words = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "meta"]  # and torch counts where it is told, as before


def test_weights_come_in_the_dtype_asked_for(tiny_model: Callable[[str], Path]) -> None:
    model = load(tiny_model("qwen3"), torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_shards_give_the_same_model(folder: Path, same_weights: Callable[[Any, Any], None]) -> None:
    whole = load(folder)
    write_index(folder)
    same_weights(load(folder), whole)


def test_attention_can_be_chosen_and_a_missing_package_is_only_a_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(folder, flash_attn="disabled").config._attn_implementation == "eager"
    assert load(folder, flash_attn="sdpa").config._attn_implementation == "sdpa"
    assert load(folder, flash_attn="fa2").config._attn_implementation == "sdpa"
    assert "fa2 is not installed" in capsys.readouterr().err


def test_a_local_path_never_touches_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: asked.append(args))
    load(folder)
    load_tokenizer(ModelSection(model_name_or_path=str(folder)))
    assert asked == []


# H12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 500}, ["500", "512"]),
        ({"vocab_size": 10**9}, ["vocab_size", "1000000000"]),
        ({"hidden_size": 0}, ["hidden_size is 0"]),
        ({"hidden_size": -1}, ["hidden_size is -1"]),
        ({"hidden_size": 10**9}, ["hidden_size is 1000000000"]),
        ({"hidden_size": 128}, ["128", "64"]),
        ({"num_hidden_layers": 10**6}, ["num_hidden_layers is 1000000"]),
        ({"num_hidden_layers": 4}, ["4", "3 layers"]),
        ({"num_hidden_layers": 2}, ["2", "3 layers"]),
        ({"num_attention_heads": 7, "head_dim": ...}, ["7 attention heads", "64"]),
        ({"num_key_value_heads": 3}, ["3 key-value heads", "4 attention heads"]),
        ({"num_attention_heads": "four"}, ["num_attention_heads is 'four'"]),
        ({"intermediate_size": 128}, ["128", "96"]),
        ({"model_type": None}, ["model_type"]),
        ({"model_type": "llamma"}, ["llamma"]),
        ({"rope_theta": float("nan")}, ["NaN"]),
    ],
)
def test_a_config_that_lies_is_refused_fast_and_both_numbers_are_named(
    folder: Path, changes: dict[str, Any], said: list[str]
) -> None:
    change(folder / "config.json", **changes)
    start = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert time.perf_counter() - start < 5
    assert all(words in str(caught.value) for words in said), str(caught.value)


def test_all_lies_are_told_at_once(folder: Path) -> None:
    change(folder / "config.json", hidden_size=0, num_hidden_layers=-3)
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert len(caught.value.faults) == 2


def test_weights_that_are_not_all_there_are_refused_not_filled_with_noise(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors \(model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


# H01, H04


class Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.canary),))


def test_pickled_weights_are_refused_and_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "canary")))
    with pytest.raises(ModelError, match=r"PICKLE-REFUSED.*pytorch_model\.bin.*save_file") as caught:
        load(folder)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "canary").exists()


def test_a_pickle_beside_safetensors_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "canary")))
    assert load(folder) is not None
    assert not (tmp_path / "canary").exists()


def test_a_pickle_by_another_name_is_recognised(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(tmp_path / "canary")))
    with pytest.raises(ModelError, match="looks like a pickle"):
        load(folder)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", [b"PK\x03\x04zip", b"", b"[]", b"{", b"\xff\xfe", b'{"a": 1e999}', b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match="MODEL-JSON"):
        load(folder)


# H06


@pytest.mark.parametrize(
    "shard",
    ["../../x.safetensors", "/etc/passwd", "model-9.safetensors", "sub/model.safetensors", "..\\x.safetensors", "",
     "config.json", ".hidden.safetensors", "model.safetensors\n"],
)  # fmt: skip
def test_an_index_cannot_point_out_of_its_folder(folder: Path, shard: str) -> None:
    write_index(folder, **{"model.norm.weight": shard})
    with pytest.raises(ModelError, match="MODEL-INDEX"):
        load(folder)


def test_a_shard_that_points_at_itself_is_missing(folder: Path) -> None:
    write_index(folder)
    shard = folder / "model-00001-of-00002.safetensors"
    shard.unlink()
    shard.symlink_to(shard.name)
    with pytest.raises(ModelError, match=r"model-00001-of-00002\.safetensors is missing"):
        load(folder)


def test_index_and_shards_must_list_the_same_tensors(folder: Path) -> None:
    listed = write_index(folder)
    index = folder / "model.safetensors.index.json"
    moved = next(shard for shard in set(listed.values()) if shard != listed["model.norm.weight"])
    for changes, said in (
        ({**listed, "model.norm.weight": moved}, "is not in model-0000"),
        ({name: shard for name, shard in listed.items() if name != "model.norm.weight"}, "is not in the index"),
        ({**listed, "made.up": moved}, r"made\.up is not in"),
    ):
        index.write_text(json.dumps({"weight_map": changes}))
        with pytest.raises(ModelError, match=said):
            load(folder)


def test_a_tensor_in_two_shards_is_refused(folder: Path) -> None:
    write_index(folder)
    shards = sorted(folder.glob("model-*.safetensors"))
    both = {**load_file(shards[0]), "model.norm.weight": load_file(shards[0]).get("model.norm.weight", torch.ones(64))}
    other = {**load_file(shards[1]), "model.norm.weight": torch.ones(64)}
    save_file(both, shards[0])
    save_file(other, shards[1])
    with pytest.raises(ModelError, match=r"model\.norm\.weight is in two shards"):
        load(folder)


# H07


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer_config.json", "generation_config.json", "preprocessor_config.json"]
)
def test_a_model_that_brings_code_is_refused_and_the_code_not_run(folder: Path, tmp_path: Path, file: str) -> None:
    (folder / "modeling_x.py").write_text(f"import os; os.mkdir({str(tmp_path / 'canary')!r})\n")
    if not (folder / file).exists():
        (folder / file).write_text("{}")
    change(folder / file, auto_map={"AutoModelForCausalLM": "modeling_x.X", "AutoTokenizer": ["modeling_x.X", None]})
    section = ModelSection(model_name_or_path=str(folder))
    for act in (lambda: load(folder), lambda: load_tokenizer(section)):
        with pytest.raises(ModelError, match=r"needs remote code.*trust_remote_code") as caught:
            act()
        assert caught.value.exit_code == 4
    assert not (tmp_path / "canary").exists()


def test_a_known_model_that_only_mentions_code_loads_without_it(folder: Path) -> None:
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "someone/repo--modeling_x.X"})
    assert type(load(folder)).__name__ == "LlamaForCausalLM"


# Places


def test_what_is_not_a_model_is_named(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    adapter = Path(shutil.copytree(folder, tmp_path / "adapter"))
    (adapter / "config.json").rename(adapter / "adapter_config.json")
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    (bare / "model.safetensors").unlink()
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    for place, said in (
        (empty, r"no config\.json"),
        (packed, r"no config\.json"),
        (adapter, "this is an adapter"),
        (bare, r"holds no model\.safetensors"),
        (tmp_path / "nowhere", "no such folder"),
    ):
        with pytest.raises(ModelError, match=said):
            load(place)
