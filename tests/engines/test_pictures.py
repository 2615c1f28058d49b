"""Pictures in prompts: the ids of the model's own generate with the library's own pixels, whoever shares the batch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hone.data.stage import Limits
from hone.dialogue.example import IGNORED
from hone.dialogue.message import Conversation, Media, Message, Text
from hone.dialogue.records import Chat
from hone.engines.base import Settings
from hone.engines.session import Session, seen_in
from hone.errors import DataError
from hone.recipe import Recipe
from hone.runs.encoding import encoding_of
from hone.runs.session import open_session

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava")
TEMPLATES = {"qwen2_5_vl": "qwen2_vl", "qwen3_vl": "qwen3_vl_nothink"}
SIZES = [(40, 32), (36, 48), (64, 32)]
LENGTH = 24
GREEDY = Settings(do_sample=False, max_new_tokens=LENGTH)


def recipe_of(model: Path, kind: str, pictures: Path) -> Recipe:
    recipe = Recipe()
    return replace(
        recipe,
        model=replace(recipe.model, model_name_or_path=str(model), infer_dtype="float32"),
        data=replace(recipe.data, template=TEMPLATES.get(kind, kind), media_dir=str(pictures)),
    )


@dataclass(frozen=True)
class Shown:
    """A session, and the conversations it is asked: three with pictures and one of text."""

    kind: str
    session: Session
    recipe: Recipe
    asked: list[Conversation]
    paths: list[list[Path]]


@pytest.fixture(scope="module", params=KINDS)
def shown(
    request: pytest.FixtureRequest, seeing_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Shown:
    """Pictures of noise, of sizes that need no change before the processor sees them."""
    folder, random = tmp_path_factory.mktemp("shown"), torch.Generator().manual_seed(0)
    for number, (width, height) in enumerate(SIZES):
        noise = torch.randint(0, 256, (height, width, 3), generator=random, dtype=torch.uint8).numpy()
        Image.fromarray(noise).save(folder / f"{number}.png")
    asked = [(0, "Which animal?"), ("Compare ", 1, 2, " please, and take your time."), ("Two and two?",), ("It: ", 2)]
    made = [
        Conversation(
            (Message("user", tuple(Media("image", f"{p}.png") if isinstance(p, int) else Text(p) for p in q)),)
        )
        for q in asked
    ]
    recipe = recipe_of(seeing_model(request.param), request.param, folder)
    paths = [[folder / f"{p}.png" for p in q if isinstance(p, int)] for q in asked]
    return Shown(request.param, open_session(recipe), recipe, made, paths)


def generated(shown: Shown, number: int, prompt: list[int]) -> tuple[list[int], int]:
    """What the model's own generate writes, with what the library's own processor makes of the pictures; and how far
    the places behind the prompt are then from their numbers."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText

    folder = shown.recipe.model.model_name_or_path
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    given: dict[str, Any] = {}
    if shown.paths[number]:
        images = [Image.open(path) for path in shown.paths[number]]
        given = dict(AutoImageProcessor.from_pretrained(folder, backend="pil")(images=images, return_tensors="pt"))
    ids = torch.tensor([prompt])
    if given and shown.kind != "llava":
        given["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    whole = model.generate(ids, **given, max_new_tokens=LENGTH, do_sample=False, eos_token_id=None, pad_token_id=0)
    return whole[0, len(prompt) :].tolist(), int(getattr(model.model, "rope_deltas", 0))


def test_answers_are_those_of_generate_alone_and_side_by_side(shown: Shown) -> None:
    encoder, engine = shown.session.encoder, shown.session.engine
    asked = [encoder.shown(one) for one in shown.asked]
    prompts = [encoder.prompt(one) for one in asked]
    seen = [seen_in(encoder, one, prompt) for one, prompt in zip(asked, prompts, strict=True)]
    assert [one is None for one in seen] == [False, False, True, False]
    made = [generated(shown, number, prompt) for number, prompt in enumerate(prompts)]
    wanted = [ids for ids, _ in made]
    assert [one.shift if one else 0 for one in seen] == [shift for _, shift in made]
    assert wanted[0] != wanted[3]
    alone = [
        [i for piece in engine.generate(p, GREEDY, s) for i in piece.ids] for p, s in zip(prompts, seen, strict=True)
    ]
    assert alone == wanted
    under_way = [engine.generate(p, GREEDY, s) for p, s in zip(prompts, seen, strict=True)]
    assert [[i for piece in one for i in piece.ids] for one in under_way] == wanted
    assert shown.session.engine.scheduler.board.together


def test_what_a_model_is_asked_is_what_it_was_taught(shown: Shown) -> None:
    encoding = encoding_of(shown.recipe)
    for asked in shown.asked:
        taught = Chat(replace(asked, messages=(*asked.messages, Message("assistant", (Text("a fox"),)))))
        (made,) = encoding.stage.encode([taught], encoding.encoder, Limits(2048))
        given = made.example.input_ids[made.example.labels == IGNORED].tolist()
        encoder = shown.session.encoder
        assert encoder.prompt(encoder.shown(asked)) == given


def test_another_picture_gets_another_answer_and_bytes_are_the_same_as_the_file(shown: Shown) -> None:
    def said(medium: Media) -> str:
        reply = shown.session.say(Conversation((Message("user", (medium, Text("Which?"))),)), GREEDY)
        list(reply)
        return reply.text

    one, other = (shown.paths[1][place].read_bytes() for place in (0, 1))
    assert said(Media("image", one)) == said(Media("image", shown.paths[1][0].name)) != said(Media("image", other))


def test_a_model_whose_processor_is_broken_is_still_asked_with_text(
    seeing_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(seeing_model("qwen2_vl"), tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "NoSuchOne"}))
    session = open_session(recipe_of(folder, "qwen2_vl", tmp_path))
    assert "Pictures cannot be shown to this model" in capsys.readouterr().err
    assert session.blindness() == "its image processor cannot be loaded"
    list(reply := session.say(Conversation((Message("user", (Text("Which?"),)),)), GREEDY))
    assert reply.tokens == LENGTH
    with pytest.raises(DataError, match="its image processor cannot be loaded"):
        session.say(Conversation((Message("user", (Media("image", b"a"),)),)), GREEDY)
