"""Rows with pictures: tokens as many as their processor makes, kept whole or not at all, and faults with their row."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hone.data.batch import collate
from hone.data.pieces import Pieces, Writer
from hone.data.prepare import Prepared, prepare
from hone.data.stage import Limits
from hone.dialogue.example import IGNORED, Example
from hone.dialogue.message import Conversation, Media, Message, Text
from hone.dialogue.records import Chat
from hone.errors import DataError
from hone.media.expand import Grounds, Picture, expanded, tokens_of
from hone.recipe import Recipe, settle
from hone.runs.encoding import Encoding, encoding_of

Rows = list[dict[str, Any]]


@pytest.fixture
def looked(seeing_model: Callable[[str], Path], tmp_path: Path) -> Callable[..., tuple[Recipe, Encoding]]:
    """`looked(rows, cutoff_len=…)`: a recipe over those rows and two pictures, and what encodes them."""
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    Image.new("RGB", (64, 40), "blue").save(tmp_path / "blue.jpg")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")

    def make(rows: Rows, kind: str = "qwen2_vl", **settings: Any) -> tuple[Recipe, Encoding]:
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        given = {
            "model_name_or_path": str(seeing_model(kind)), "template": kind, "stage": "sft", "do_train": True,
            "dataset": str(tmp_path / "rows.jsonl"), "media_dir": str(tmp_path), "output_dir": str(tmp_path / "out"),
        }  # fmt: skip
        recipe = settle({**given, **settings}, verb="train")
        return recipe, encoding_of(recipe)

    return make


def prepared(recipe: Recipe, encoding: Encoding, tmp_path: Path) -> Prepared:
    return prepare(recipe.data, encoding.stage, encoding.encoder, seed=0, cache_dir=tmp_path / "cache", quiet=True)


def asked(text: str, *images: Any, answer: str = "a dog") -> dict[str, Any]:
    return {"instruction": text, "output": answer, "images": list(images)}


@pytest.mark.parametrize("kind", ["qwen2_vl", "llava"])
def test_examples_know_their_pictures_and_come_out_of_the_cache_with_them(
    looked: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    inline = "data:image/png;base64," + base64.b64encode((tmp_path / "red.png").read_bytes()).decode()
    rows = [asked("<image>What?", "red.png"), asked("plain"), asked("<image> and <image>", "blue.jpg", inline)]
    recipe, encoding = looked(rows, kind)
    for _ in range(2):
        train = prepared(recipe, encoding, tmp_path).train
        assert train is not None
        assert [[medium.source for medium in one.media] for one in train] == [["red.png"], [], ["blue.jpg", inline]]
        assert all((one.labels[encoding.encoder.sees(one.input_ids)] == IGNORED).all() for one in train)
    batch = encoding.stage.collate(list(train))
    counts = [int(encoding.encoder.sees(one.input_ids).sum()) for one in train]
    assert counts == ([16, 0, 56] if kind == "qwen2_vl" else [16, 0, 32])
    assert batch["media_of_segment"].tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (asked("<image>What?", "gone.png"), "MEDIA-MISSING"),
        (asked("<image>What?", "broken.png"), "IMAGE-BROKEN"),
        (asked("<image>What?", "../../etc/passwd"), "MEDIA-OUTSIDE-ROOT"),
        (asked("<image><image>What?", "red.png"), "2 `<image>` in the messages, but 1 images"),
        (asked("<image>What?", "https://example.org/a.png"), "MEDIA-URL"),
        ({"instruction": "<video>What?", "output": "a", "videos": ["v.mp4"]}, "videos, which Hone cannot train on yet"),
    ],
    ids=["missing", "broken", "outside", "count", "url", "video"],
)
def test_what_is_wrong_with_a_picture_is_said_with_its_row(
    looked: Callable[..., Any], tmp_path: Path, row: dict[str, Any], code: str
) -> None:
    rows = [asked("<image>What?", "red.png"), row, asked("<image>This?", "blue.jpg")]
    recipe, encoding = looked(rows)
    with pytest.raises(DataError, match=rf"{code}(.|\n)*row 2"):
        prepared(recipe, encoding, tmp_path)
    recipe, encoding = looked(rows, on_bad_row="skip")
    train = prepared(recipe, encoding, tmp_path).train
    clean, encoding = looked([rows[0], rows[2]])
    whole = prepared(clean, encoding, tmp_path).train
    assert train is not None and whole is not None
    assert list(train) == list(whole)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"stage": "pt"}, "cut into blocks, which would split them"),
        ({"stage": "grpo", "reward_funcs": "length:9"}, "to questions of text alone"),
    ],
    ids=["pt", "grpo"],
)
def test_a_stage_that_trains_on_no_pictures_says_why(
    looked: Callable[..., Any], tmp_path: Path, settings: dict[str, str], why: str
) -> None:
    recipe, encoding = looked([{"instruction": "<image>What?", "images": ["red.png"]}], **settings)
    with pytest.raises(DataError, match=rf"which stage {settings['stage']} cannot train on: .*{why}"):
        prepared(recipe, encoding, tmp_path)


def test_a_skipped_row_leaves_no_trace_in_the_drift_of_its_neighbours(
    looked: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"<image>{name}", "completion": name, "label": number % 2 == 0, "images": [name]}
        for number, name in enumerate(["red.png", "blue.jpg", "broken.png", "red.png"])
    ]
    recipe, encoding = looked(rows, stage="kto", on_bad_row="skip")
    train = prepared(recipe, encoding, tmp_path).train
    clean, encoding = looked([rows[0], rows[1], rows[3]], stage="kto")
    whole = prepared(clean, encoding, tmp_path).train
    assert train is not None and whole is not None and len(train) == 3
    assert list(train) == list(whole)
    ids = encoding.stage.collate([train[1]])["kl_input_ids"][0]
    assert "blue.jpg" in (said := encoding.tokenizer.decode(ids)) and "red.png" in said


@pytest.mark.parametrize("kind", ["qwen2_vl", "llava"])
def test_a_photo_held_sideways_is_trained_on_as_its_upright_copy(
    looked: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (64, 32), "blue")
    lying.paste("red", (0, 0, 20, 32))
    lying.save(tmp_path / "held.png", exif=exif)
    lying.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    lying.save(tmp_path / "lying.png")
    recipe, encoding = looked([asked("<image>What?", name) for name in ("held.png", "upright.png", "lying.png")], kind)
    train = prepared(recipe, encoding, tmp_path).train
    assert train is not None
    held, upright, flat = (encoding.stage.collate([one]) for one in train)
    names = {name for name, value in held.items() if isinstance(value, torch.Tensor)}
    assert {"input_ids", "pixel_values"} <= names
    assert all(torch.equal(held[name], upright[name]) for name in names)
    assert not torch.equal(held["pixel_values"], flat["pixel_values"])


def test_a_picture_that_changed_since_is_never_trained_on_unseen(looked: Callable[..., Any], tmp_path: Path) -> None:
    recipe, encoding = looked([asked("<image>What?", "red.png")])
    train = prepared(recipe, encoding, tmp_path).train
    assert train is not None
    Image.new("RGB", (40, 32), "red").save(tmp_path / "red.png")
    with pytest.raises(DataError, match=r"MEDIA-CHANGED.*red.png"):
        encoding.stage.collate(list(train))
    (tmp_path / "red.png").write_bytes((tmp_path / "blue.jpg").read_bytes()[:400])
    with pytest.raises(DataError, match=r"IMAGE-BROKEN|MEDIA-CHANGED"):
        encoding.stage.collate(list(train))
    (tmp_path / "red.png").unlink()
    with pytest.raises(DataError, match="MEDIA-MISSING"):
        encoding.stage.collate(list(train))


def test_a_model_of_text_alone_says_why_it_takes_no_pictures(looked: Callable[..., Any], tmp_path: Path) -> None:
    recipe, encoding = looked([asked("<image>What?", "red.png")], template="alpaca")
    with pytest.raises(DataError, match="template alpaca does not write them the way qwen2_vl reads them"):
        prepared(recipe, encoding, tmp_path)


@pytest.mark.parametrize("mask_history", [False, True])
def test_a_cut_never_splits_a_picture_and_no_answer_is_learned_without_its_own(
    looked: Callable[..., Any], mask_history: bool
) -> None:
    _, encoding = looked([asked("plain")])
    turns = []
    for source, answer in (("red.png", "a fox"), ("blue.jpg", "geese watch the dog")):
        turns.append(Message("user", (Text("Look: "), Media("image", source), Text(" what is it?"))))
        turns.append(Message("assistant", (Text(answer),)))
    record = Chat(Conversation(tuple(turns)))
    whole = encoding.stage.encode([record], encoding.encoder, Limits(1000))[0].example
    sizes = {"red.png": 16, "blue.jpg": 40}
    for cutoff_len in range(4, len(whole.input_ids) + 4):
        limits = Limits(cutoff_len, mask_history=mask_history)
        made = encoding.stage.encode([record], encoding.encoder, limits)[0]
        seen = int(encoding.encoder.sees(made.example.input_ids).sum())
        assert seen == sum(sizes[str(medium.source)] for medium in made.example.media)
        assert len(made.example.input_ids) <= cutoff_len
        assert len(made.example.input_ids) + made.lost == len(whole.input_ids)
        assert seen or not made.example.learned
    assert made.example == whole or mask_history


def test_packs_keep_the_order_of_their_pictures(looked: Callable[..., Any], tmp_path: Path) -> None:
    rows = [asked(f"<image>{n}", "red.png" if n % 2 else "blue.jpg") for n in range(6)]
    recipe, encoding = looked(rows, packing=True, cutoff_len=220)
    train = prepared(recipe, encoding, tmp_path).train
    assert train is not None and len(train) < 6
    batch = encoding.stage.collate(list(train))
    assert batch["media_of_segment"].tolist() == [1] * 6
    sizes = batch["image_grid_thw"].prod(-1).div(4).int().tolist()
    bounds = batch["cu_seqlens"].tolist()
    ids = batch["input_ids"][0].numpy()
    assert sizes == [int(encoding.encoder.sees(ids[a:b]).sum()) for a, b in pairwise(bounds)]


def test_references_survive_the_disk(tmp_path: Path) -> None:
    media = (Media("image", "a/ä 图.png"), Media("image", b"\x89PNG\x00"), Media("audio", "\ud800.wav"))
    media = (*media, media[1], media[0])
    ids = np.arange(4, dtype=np.int32)
    examples = [Example(ids, ids), Example(ids, ids, media=media), Example(ids, ids)]
    writer = Writer(tmp_path)
    writer.append(Pieces.of(examples))
    writer.close()
    assert [Pieces.open(tmp_path)[number] for number in range(3)] == examples


def test_examples_with_pictures_need_what_sees_them() -> None:
    ids = np.arange(4, dtype=np.int32)
    with pytest.raises(DataError, match="DATA-MEDIA"):
        collate([Example(ids, ids, media=(Media("image", "a.png"),))])


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 600), height=st.integers(1, 600))
def test_measured_tokens_are_those_of_the_real_processor(width: int, height: int) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil()
    numbers = {"image_processor": json.loads(processor.to_json_string()), "image_max_pixels": 90_000}
    grounds = Grounds({"image": "<|image_pad|>"}, numbers)
    spans = expanded("qwen2_vl", "image", Picture(width, height), grounds)
    shown = Image.new("RGB", grounds.sized((width, height), rule="qwen2_vl"))
    counts = tokens_of("qwen2_vl", [Picture(width, height)], processor([shown], return_tensors="pt"), grounds)
    assert counts == [span.times for span in spans if span.sees]


def test_a_fault_in_a_loader_process_is_the_same_fault_here() -> None:
    from torch._utils import ExceptionWrapper

    try:
        raise DataError.one("MEDIA-MISSING", "no such file: a.png", "media", "mend the file")
    except DataError:
        wrapped = ExceptionWrapper(where="in a loader process")
    with pytest.raises(DataError) as caught:
        wrapped.reraise()
    assert str(caught.value) == "error[MEDIA-MISSING] no such file: a.png: media: mend the file"
