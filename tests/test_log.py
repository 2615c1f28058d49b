"""Lines on the terminal: any encoding, no secrets."""

from __future__ import annotations

import io

import pytest

from hone import log


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(log, "_hidden", set())


def test_a_secret_never_reaches_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    log.hide("hf_recipe")
    log.say("got hf_recipe and hf_environment")
    assert capsys.readouterr().err == "got ******** and ********\n"


def test_short_words_are_not_taken_for_secrets(capsys):
    log.hide("a")
    log.say("banana")
    assert capsys.readouterr().err == "banana\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_a_line_is_written_in_any_encoding(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    log.say("数据 😀", stream=stream)
    assert stream.buffer.getvalue().endswith(b"\n")


def test_a_warning_is_plain_when_nobody_watches(capsys):
    log.warn("look out")
    assert capsys.readouterr().err == "warning: look out\n"
