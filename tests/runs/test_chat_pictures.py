"""`/image` in `hone chat`: a picture is shown with the next question, saved with it, or refused in words."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hone.dialogue.message import Conversation, Media, Message, Text
from hone.engines.base import Settings
from hone.recipe import Recipe
from hone.runs.chat import talk
from hone.runs.session import open_session
from hone.runs.terminal import Writer


def test_a_picture_goes_with_the_next_question_and_is_saved_with_it(
    seeing_model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = Recipe()
    model = replace(recipe.model, model_name_or_path=str(seeing_model("qwen2_5_vl")), infer_dtype="float32")
    session = open_session(replace(recipe, model=model, data=replace(recipe.data, template="qwen2_vl")))
    Image.new("RGB", (40, 32), "red").save(tmp_path / "a red one.png")
    picture = (tmp_path / "a red one.png").read_bytes()
    (tmp_path / "no.png").write_bytes(b"hello")
    (tmp_path / "half.png").write_bytes(picture[:60])
    os.mkfifo(tmp_path / "pipe.png")
    settings = Settings(do_sample=False, max_new_tokens=8, stop_ids=session.encoder.stop_ids)
    lines = [
        "/image", f"/image {tmp_path}/none.png", f"/image {tmp_path}/no.png", f"/image {tmp_path}/pipe.png",
        "/image http://127.0.0.1/a.png", f"/image '{tmp_path}/a red one.png'", "Which colour?", "And?",
        f"/save {tmp_path}/talk.json", "clear", f"/image {tmp_path}/half.png", "Which?", "hi",
    ]  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    shown = io.StringIO()
    talk(session, settings, Writer(("", ""), shown))
    told = capsys.readouterr().err
    for words in ("Name a file", "no such file: none.png", "no.png is no image", "no plain file", "nothing is fetched"):
        assert words in told
    assert "The next question has 1 picture." in told and "damaged" in told
    first, second, third = (part.strip("\n") for part in shown.getvalue().split("Assistant: ")[1:])
    asked = (Message("user", (Media("image", picture), Text("Which colour?"))),)
    reply = session.say(Conversation(asked), settings)
    assert "".join(part.text for part in reply if isinstance(part, Text)) == first
    more = session.say(Conversation((*asked, reply.message, Message("user", (Text("And?"),)))), settings)
    assert "".join(part.text for part in more if isinstance(part, Text)) == second
    plain = session.say(Conversation((Message("user", (Text("hi"),)),)), settings)
    assert "".join(part.text for part in plain if isinstance(part, Text)) == third
    saved = json.loads((tmp_path / "talk.json").read_text("utf-8"))["messages"]
    kinds = [part["type"] for part in saved[0]["content"]]
    assert (kinds, saved[0]["content"][1]["text"], saved[2]["content"]) == (
        ["image_url", "text"], "Which colour?", "And?",
    )  # fmt: skip
    assert saved[0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
