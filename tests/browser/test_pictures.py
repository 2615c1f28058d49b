"""Pictures on the chat page: chosen or pasted, shown, sent, and answered by a tiny model that sees."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hone.dialogue.message import Conversation, Media, Message, Text
from hone.engines.base import Settings
from hone.recipe import Recipe

KEY = "sesame-opens-this"
PASTE = """([text, kind]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], "pasted", { type: kind }));
  document.querySelector("#ask").dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, cancelable: true }));
}"""


def picture(colour: str) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (40, 32), colour).save(made, "PNG")
    return made.getvalue()


@pytest.fixture(scope="module")
def session(browser: Any, seeing_model: Callable[[str], Path]) -> Any:
    from hone.runs.session import open_session

    recipe = Recipe()
    model = replace(recipe.model, model_name_or_path=str(seeing_model("qwen2_5_vl")), infer_dtype="float32")
    return open_session(replace(recipe, model=model, data=replace(recipe.data, template="qwen2_vl")))


@pytest.fixture
def page(browser: Any, session: Any, serve: Callable[[Any], Any]) -> Iterator[Any]:
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service
    from hone.web.pages import Pages

    settings = Settings(max_new_tokens=8, do_sample=False, elastic=True, stop_ids=session.encoder.stop_ids)
    context, wrong = browser.new_context(locale="en-GB"), []
    with serve(make_app(Service(session, settings, "tiny"), Door(KEY), pages=Pages("chat"))) as url:
        opened = context.new_page()
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        opened.goto(f"{url}/#key={KEY}")
        opened.wait_for_selector("html[data-ready]")
        yield opened
        context.close()
    assert wrong == []


def test_pictures_are_chosen_and_pasted_taken_out_and_answered(page: Any, session: Any, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture("red"))
    assert page.is_visible("#picture")
    page.set_input_files("#file", tmp_path / "red.png")
    page.wait_for_selector("#pictures img")
    for colour, kind in (("green", "image/png"), ("blue", "image/png"), ("white", "text/plain")):
        page.evaluate(PASTE, [base64.b64encode(picture(colour)).decode(), kind])
    page.wait_for_function("document.querySelectorAll('#pictures img').length === 3")
    page.locator("#pictures button").nth(1).click()
    assert page.locator("#pictures img").count() == 2
    page.fill("#ask", "Which?")
    with page.expect_response("**/v1/chat/completions") as answered:
        page.keyboard.press("Enter")
    sent = answered.value.request.post_data_json["messages"]
    urls = [part["image_url"]["url"] for part in sent[-1]["content"] if part["type"] == "image_url"]
    pictures = [base64.b64decode(one.partition(",")[2]) for one in urls]
    assert pictures[0] == picture("red") and pictures[1] in map(picture, ("green", "blue"))
    parts = (*(Media("image", one) for one in pictures), Text("Which?"))
    settings = Settings(max_new_tokens=8, do_sample=False, stop_ids=session.encoder.stop_ids)
    reply = session.say(Conversation((Message("user", parts),)), settings)
    list(reply)
    assert answered.value.status == 200
    page.wait_for_selector("article.assistant[aria-busy=false]")
    assert (page.locator("article.user img").count(), page.locator("#pictures img").count()) == (2, 0)
    assert "".join(reply.message.text.split()) in "".join(page.inner_text("article.assistant").split())
