"""The chat page: it asks, shows, stops, speaks two languages, fits a phone, and never takes text for markup."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

HOSTILE = "<img src=x onerror=\"document.title='taken'\"> <script>document.title='taken'</script> **bold** `code`"


def ask(page: Any, text: str) -> None:
    page.fill("#ask", text)
    page.press("#ask", "Enter")


def answered(page: Any, count: int = 1) -> Any:
    """The newest answer, once it is whole."""
    page.wait_for_function(
        "n => document.querySelectorAll('article.assistant[aria-busy=false]').length === n", arg=count, timeout=60_000
    )
    return page.locator("article.assistant").last


def scripted(page: Any, *deltas: dict[str, Any]) -> None:
    """A model that says this: the events as a server would send them."""
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=body))


def test_a_question_is_answered_and_asked_again_with_the_system_prompt(page: Any) -> None:
    page.click("#settings")
    page.fill("#system", "Be brief.")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "hello")
    assert [one["role"] for one in sent.value.post_data_json["messages"]] == ["system", "user"]
    assert sent.value.post_data_json["stream"] is True
    assert answered(page).locator(".fault").count() == 0
    page.click("article.assistant >> text=Answer again")
    answered(page)
    ask(page, "and more")
    answered(page, 2)
    page.click("#clear")
    assert page.locator("article").count() == 0


def test_who_answers_is_chosen_among_the_model_and_its_adapters(page: Any) -> None:
    assert page.text_content("#model") == "tiny" and not page.is_visible("#choice")
    names = ["tiny", "rude", "a-very-long-name-of-an-adapter/" + "x" * 40]

    def told(route: Any) -> None:
        facts = route.fetch().json()
        route.fulfill(json={**facts, "models": [*facts["models"], *names[1:]]})

    page.route("**/info", told)
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    page.wait_for_selector("#choice:visible")
    assert page.locator("#choice option").all_text_contents() == names
    for name in ("tiny", "rude"):
        page.select_option("#choice", name)
        with page.expect_request("**/v1/chat/completions") as sent:
            ask(page, "hello")
        assert sent.value.post_data_json["model"] == name
        answered(page, 1 + (name == "rude"))
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    page.click("#clear")
    assert "rude" in page.text_content("#emptyMore") and page.title().startswith("rude")
    page.click("#settings")
    with page.expect_download() as saved:
        page.click("#export")
    assert json.loads(saved.value.path().read_text("utf-8"))["model"] == "rude"
    page.click("#close")
    page.set_viewport_size({"width": 390, "height": 844})
    page.select_option("#choice", names[2])
    rights = "[...document.querySelectorAll('header > *')].map(one => one.getBoundingClientRect().right)"
    assert max(page.evaluate(rights)) <= 390


def test_stop_ends_the_answer_and_the_work(page: Any, served: Any) -> None:
    page.click("#settings")
    page.fill("#max_tokens", "6000")
    ask(page, "hello")
    page.wait_for_selector("article.assistant .said")
    page.click("#stop")
    assert "Stopped." in answered(page).text_content()
    began = time.monotonic()
    while served.engine.scheduler.load and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert served.engine.scheduler.load == 0
    assert page.is_visible("#send")


def test_tools_are_checked_before_anything_is_asked(page: Any) -> None:
    page.click("#settings")
    page.fill("#tools", '[{"name": ]')
    ask(page, "hello")
    assert "not valid JSON" in page.text_content("#toolsFault")
    assert page.locator("article").count() == 0
    page.fill("#tools", '[{"name": "weather", "parameters": {"type": "object", "properties": {}}}]')
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "hello")
    assert sent.value.post_data_json["tools"][0]["function"]["name"] == "weather"
    assert answered(page).locator(".fault").count() == 0


def test_calls_and_thoughts_are_set_apart(page: Any) -> None:
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    }
    scripted(page, {"reasoning_content": "Let me look."}, {"tool_calls": [call]})
    ask(page, "hello")
    answer = answered(page)
    assert not answer.locator("details div").is_visible()
    answer.locator("summary").click()
    assert answer.locator("details div").text_content() == "Let me look."
    assert "Oslo" in answer.locator(".call").text_content()
    answer.locator(".call button").click()
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "rain")
    assert sent.value.post_data_json["messages"][-1] == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}


def test_hostile_text_stays_text(page: Any) -> None:
    scripted(page, {"content": HOSTILE + "\n\n```html\n" + HOSTILE + "\n```\n\n[x](javascript:alert(1))"})
    ask(page, HOSTILE)
    answer = answered(page)
    assert "<img src=x onerror=" in answer.text_content()
    assert page.locator("article img, article script, article a").count() == 0
    assert answer.locator("strong").text_content() == "bold"
    assert "taken" not in page.title()


def test_a_refusal_is_told_in_words(page: Any) -> None:
    page.click("#settings")
    page.fill("#max_tokens", "999999")
    ask(page, "hello")
    assert "no longer fits" in answered(page).locator(".fault").text_content()


def test_the_language_changes_while_it_runs(page: Any) -> None:
    ask(page, "hello")
    answered(page)
    page.select_option("#language", "zh")
    page.wait_for_selector("text=发送")
    assert page.get_attribute("html", "lang") == "zh"
    assert "重新回答" in page.text_content("article.assistant")
    page.reload()
    page.wait_for_selector("text=发送")


def test_it_is_dark_where_the_system_is_and_where_the_user_says(page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-look=dark]")
    assert page.evaluate(ground) != light
    page.click("#look")
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("opened", [False, True])
def test_a_phone_needs_no_scrolling_sideways(page: Any, opened: bool) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    scripted(page, {"content": "w" * 300 + "\n\n| a | b |\n|---|---|\n| " + "x" * 200 + " | y |\n\n```\n" + "z" * 300})
    ask(page, "v" * 300)
    answered(page)
    if opened:
        page.click("#settings")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert (
        page.evaluate(
            "Math.max(...[...document.querySelectorAll('header > *, .row > *')]"
            ".map(one => one.getBoundingClientRect().right))"
        )
        <= 390
    )


def test_without_the_key_nothing_is_told_until_it_is_typed(browser: Any, served: Any) -> None:
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(served.url)
    page.wait_for_selector("dialog[open]")
    page.fill("#key", "wrong")
    page.press("#key", "Enter")
    page.wait_for_selector("#keyFault:visible")
    page.fill("#key", "sesame-opens-this")
    page.press("#key", "Enter")
    page.wait_for_selector("html[data-ready]")
    assert page.text_content("#model") == "tiny"
    assert "key" not in page.url
    context.close()


def test_an_earlier_question_is_edited_and_the_conversation_is_saved(page: Any) -> None:
    ask(page, "hello")
    answered(page)
    ask(page, "more")
    answered(page, 2)
    page.locator("article.user").first.get_by_text("Edit").click()
    page.fill("article.user textarea", "goodbye")
    page.click("text=Save and ask again")
    page.wait_for_function("document.querySelectorAll('article.user').length === 1")
    answered(page)
    page.click("#settings")
    with page.expect_download() as saved:
        page.click("#export")
    kept = json.loads(saved.value.path().read_text("utf-8"))
    assert kept["messages"][0] == {"role": "user", "content": "goodbye"}
    assert [one["role"] for one in kept["messages"]] in (["user", "assistant"], ["user"])


def test_a_stream_that_breaks_off_is_not_taken_for_whole(page: Any) -> None:
    body = 'data: {"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": null}]}\n\n'
    page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    ask(page, "hello")
    answer = answered(page)
    assert "half" in answer.text_content()
    assert "cannot be reached" in answer.locator(".fault").text_content()
