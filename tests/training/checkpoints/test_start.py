"""Where a run may write and where it begins: resuming, refusing, and leaving a foreign folder as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hone.errors import CheckpointError, RecipeError
from hone.training.checkpoints.keeper import Keeper
from hone.training.checkpoints.manifest import seal
from hone.training.checkpoints.start import Start, choose_start


def put(folder: Path, *names: str, text: str = "{}") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def start(folder: Path, *, overwrite: bool = False, resume: str | None = None, train: bool = True) -> Start:
    return choose_start(folder, overwrite=overwrite, resume=resume, train=train)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_a_folder_that_is_new_or_empty_begins_anew(tmp_path: Path) -> None:
    assert start(tmp_path / "new") == start(tmp_path) == Start()
    assert not (tmp_path / "new").exists()


def made(folder: Path, text: str = "{}") -> Path:
    """A checkpoint as Hone leaves it."""
    put(folder, "trainer_state.json", "hone.json", "optimizer.pt", "adapter_model.safetensors", text=text)
    seal(folder, {"step": 1})
    return folder


def test_the_newest_valid_checkpoint_is_taken_up(tmp_path: Path) -> None:
    for number in (9, 10):
        made(tmp_path / f"checkpoint-{number}")
    assert start(tmp_path) == Start(tmp_path / "checkpoint-10")


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a bit": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
}
FILES = ("trainer_state.json", "hone.json", "optimizer.pt", "adapter_model.safetensors", "manifest.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_kept_aside_and_the_one_before_it_is_taken(
    tmp_path: Path, damage: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "checkpoint-10")
    DAMAGE[damage](made(tmp_path / "checkpoint-15") / name)
    begin = start(tmp_path)
    assert begin.checkpoint == tmp_path / "checkpoint-10"
    assert (tmp_path / "checkpoint-15").exists()
    begin.clear_the_way()
    assert name in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-15.corrupt"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_that_is_named_is_refused_and_valid_ones_are_listed(tmp_path: Path, damage: str) -> None:
    made(tmp_path / "checkpoint-10")
    DAMAGE[damage](made(tmp_path / "checkpoint-15") / "optimizer.pt")
    with pytest.raises(CheckpointError, match=r"optimizer\.pt.*checkpoint-15.*checkpoint-10"):
        start(tmp_path, resume=str(tmp_path / "checkpoint-15"))


def test_where_no_checkpoint_is_valid_nothing_is_begun_over_them(tmp_path: Path) -> None:
    DAMAGE["cut"](made(tmp_path / "checkpoint-15") / "optimizer.pt")
    before = tree(tmp_path)
    with pytest.raises(CheckpointError, match="overwrite_output_dir"):
        start(tmp_path)
    assert tree(tmp_path) == before


def test_a_checkpoint_of_another_program_is_passed_over_unless_it_is_named(tmp_path: Path) -> None:
    made(tmp_path / "checkpoint-10")
    put(tmp_path, "checkpoint-15/trainer_state.json", "checkpoint-15/optimizer.pt")
    assert start(tmp_path) == Start(tmp_path / "checkpoint-10")
    named = start(tmp_path, resume=str(tmp_path / "checkpoint-15"))
    assert named == Start(tmp_path / "checkpoint-15")
    with pytest.raises(CheckpointError, match="not made by Hone"):
        shutil.rmtree(tmp_path / "checkpoint-10")
        start(tmp_path)


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    made(tmp_path / "checkpoint-1")
    manifest = tmp_path / "checkpoint-1/manifest.json"
    manifest.write_text(manifest.read_text().replace("optimizer.pt", "../../secret"))
    with pytest.raises(CheckpointError, match="which cannot be"):
        start(tmp_path)


def test_overwriting_begins_anew_and_remembers_what_it_replaces(tmp_path: Path) -> None:
    put(tmp_path, "checkpoint-9/trainer_state.json", "notes.txt")
    assert start(tmp_path, overwrite=True) == Start(stale=(tmp_path / "checkpoint-9",))


def test_a_named_checkpoint_wins(tmp_path: Path) -> None:
    made(tmp_path / "run/checkpoint-9")
    made(tmp_path / "other/checkpoint-3")
    assert (
        start(tmp_path / "run", resume=str(tmp_path / "other/checkpoint-3")).checkpoint
        == tmp_path / "other/checkpoint-3"
    )
    assert start(tmp_path / "run", resume="true").checkpoint == tmp_path / "run/checkpoint-9"


@pytest.mark.parametrize("resume", ["nowhere", "true"])
def test_resuming_from_nothing_is_refused(tmp_path: Path, resume: str) -> None:
    with pytest.raises(CheckpointError, match=r"error\[CKPT-MISSING\]"):
        start(tmp_path, resume=resume)


def test_weights_without_a_checkpoint_are_not_trained_over(tmp_path: Path) -> None:
    put(tmp_path, "adapter_model.safetensors", "trainer_log.jsonl")
    with pytest.raises(RecipeError, match="overwrite_output_dir"):
        start(tmp_path)
    assert start(tmp_path, train=False) == Start()
    assert start(tmp_path, overwrite=True) == Start()


def test_a_run_that_died_before_its_first_checkpoint_can_be_started_again(tmp_path: Path) -> None:
    put(tmp_path, "recipe.yaml", "trainer_log.jsonl", ".hone.lock")
    assert start(tmp_path) == Start()


def test_a_run_that_died_while_it_wrote_its_first_file_can_be_started_again(tmp_path: Path) -> None:
    put(tmp_path, ".recipe.yaml.yltpka02", ".hone.lock")
    assert start(tmp_path) == Start()
    Keeper(tmp_path).sweep()
    assert [path.name for path in tmp_path.iterdir()] == [".hone.lock"]


@pytest.mark.parametrize("train", [True, False])
def test_a_folder_with_foreign_files_is_refused_and_left_as_it_was(tmp_path: Path, train: bool) -> None:
    put(tmp_path, "thesis.tex", "figures/one.png")
    before = tree(tmp_path)
    with pytest.raises(RecipeError, match=r"thesis\.tex"):
        start(tmp_path, train=train)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["file", "x" * 300, "nul\0name"])
def test_what_cannot_be_a_folder_is_a_fault_of_the_recipe(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecipeError, match=r"error\[OUTPUT-DIR\]"):
        start(tmp_path / name)
