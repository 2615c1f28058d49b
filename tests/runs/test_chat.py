"""`chat` as it is typed: prompts and answers through a pipe, history, `clear`, `exit`, adapters, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Chat = Callable[..., subprocess.CompletedProcess[str]]
LIMITS = ("--max_new_tokens", "8", "--do_sample", "false")


def command(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("llamafactory-cli")), *words]


@pytest.fixture
def chat(warm: Callable[..., subprocess.CompletedProcess[str]]) -> Chat:
    """A chat at the end of a pipe, in a process that need not be started anew."""
    return lambda *words, typed: warm(["chat", *words], typed)


@pytest.fixture
def started_chat() -> Chat:
    """A chat as a shell starts it."""

    def talk(*words: str, typed: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("chat", *words),
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    return talk


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Path]) -> str:
    return str(tiny_model("llama"))


def answers(output: str) -> list[str]:
    """What stands behind each `Assistant: `."""
    return [part.split("\nUser: ")[0].strip("\n") for part in output.split("Assistant: ")[1:]]


def test_lines_from_a_pipe_are_answered_until_its_end(chat: Chat, model: str) -> None:
    done = chat("--model_name_or_path", model, "--template", "chatml", *LIMITS, typed="hi\n\nhi\nclear\nhi\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("User: ") == 6
    first, second, third = answers(done.stdout)
    assert first == third != second
    assert "Nothing was asked" in done.stderr
    assert "forgotten" in done.stderr
    assert "template chatml: named in the recipe" in done.stderr


def test_odd_lines_do_not_end_the_talk_and_exit_does(started_chat: Chat, model: str) -> None:
    limits = ("--max_new_tokens", "400", "--do_sample", "false")
    typed = f"hi 😀\n{'word ' * 200}\nexit\nhi\n"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0"}
    done = started_chat("--model_name_or_path", model, "--template", "chatml", *limits, typed=typed, **locale)
    assert (done.returncode, len(answers(done.stdout))) == (0, 1), done.stderr
    assert "error[PROMPT-LENGTH]" in done.stderr


def test_commands_are_obeyed_and_messages_may_have_several_lines(chat: Chat, model: str, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    typed = '/system Be brief.\n"""\nfirst\n  second\n"""\nthird \\\nfourth\n'
    typed += f"/save {saved}\n/image a.png\n/help\n/nothing\n"
    done = chat("--model_name_or_path", model, "--template", "chatml", *LIMITS, typed=f"{typed}/exit\nhi\n")
    assert done.returncode == 0, done.stderr
    messages = json.loads(saved.read_text("utf-8"))["messages"]
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert [one["content"] for one in messages if one["role"] != "assistant"] == [
        "Be brief.",
        "first\n  second",
        "third \nfourth",
    ]
    for words in (
        "No picture can be shown here: this model reads text alone",
        "There is no command /nothing",
        "how the model should behave",
    ):
        assert words in done.stderr


def test_who_answers_is_chosen_among_adapters_with_names(chat: Chat, model: str, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(tmp_path)
    words = ("--model_name_or_path", model, "--template", "chatml", "--adapter_name_or_path", f"geese={tmp_path}")
    typed = "hi\nclear\n/adapter off\nhi\nclear\n/adapter geese\nhi\n/adapter\n/adapter ducks\n"
    done = chat(*words, *LIMITS, typed=typed)
    assert done.returncode == 0, done.stderr
    first, second, third = answers(done.stdout)
    assert first == third != second
    assert "* geese" in done.stderr
    assert "There is no adapter ducks" in done.stderr


def test_on_a_terminal_ctrl_c_stops_the_answer_and_not_the_talk(model: str, tmp_path: Path) -> None:
    import pty

    folder = shutil.copytree(model, tmp_path / "patient")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 100_000}))
    ours, theirs = pty.openpty()
    words = command("chat", "--model_name_or_path", str(folder), "--template", "chatml", "--do_sample", "false")
    words += ["--max_new_tokens", "90000"]  # more than can be written before it is stopped
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=_hear_ctrl_c,
    )
    os.close(theirs)
    shown = b""

    def until(word: bytes) -> None:
        nonlocal shown
        while word not in shown:
            shown += os.read(ours, 4096)
        shown = shown[shown.index(word) + len(word) :]

    try:
        until(b"User: ")
        os.write(ours, b"hello\n")
        until(b"Assistant: ")
        process.send_signal(signal.SIGINT)
        until(b"[stopped]")
        until(b"User: ")
        os.write(ours, b"/exit\n")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--template", "chatnl"], 2, "chatml"),
        (["--temprature", "0.5"], 2, "temperature"),
        (["--model_name_or_path", "/nowhere/at/all"], 4, "/nowhere/at/all"),
        (["--adapter_name_or_path", "/nowhere/at/all"], 4, "/nowhere/at/all"),
    ],
)
def test_faults_have_their_exit_codes_and_no_traceback(
    chat: Chat, model: str, words: list[str], code: int, said: str
) -> None:
    named = [] if "--model_name_or_path" in words else ["--model_name_or_path", model]
    done = chat(*named, *words, typed="hi\n")
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error[")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def _hear_ctrl_c() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and whatever that starts inherits it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_at_the_prompt_leaves_with_130(model: str) -> None:
    words = command("chat", "--model_name_or_path", model, "--template", "chatml")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(words, text=True, preexec_fn=_hear_ctrl_c, **pipes)
    shown = ""
    while process.stdout is not None and not shown.endswith("User: "):
        shown += process.stdout.read(1)
    time.sleep(2)  # a person is at the prompt only once it waits for a line
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


@pytest.fixture(scope="module")
def adapter(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A LoRA adapter that changes the answers, with the card of its run."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from hone.models.fingerprint import base_fingerprint
    from hone.rundir import RunCard, write_card

    folder = tmp_path_factory.mktemp("adapter")
    tuned: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.save_pretrained(folder)
    options = {"default_system": "Be brief.", "enable_thinking": True}
    write_card(folder, RunCard("vicuna", options, base_model=model, base_fingerprint=base_fingerprint(Path(model))))
    return str(folder)


def test_an_adapter_answers_with_the_template_of_its_card(chat: Chat, model: str, adapter: str) -> None:
    raw = chat("--model_name_or_path", model, "--template", "vicuna", *LIMITS, typed="hi\n")
    words = ("--model_name_or_path", model, "--adapter_name_or_path", adapter, "--finetuning_type", "lora", *LIMITS)
    tuned = chat(*words, typed="hi\n")
    assert (raw.returncode, tuned.returncode) == (0, 0), raw.stderr + tuned.stderr
    assert "template vicuna: saved with the model (hone.json)" in tuned.stderr
    assert answers(raw.stdout) != answers(tuned.stdout)


def test_contradicting_the_card_ends_with_both_values(chat: Chat, model: str, adapter: str) -> None:
    words = ("--model_name_or_path", model, "--adapter_name_or_path", adapter)
    done = chat(*words, "--template", "chatml", typed="hi\n")
    assert done.returncode == 2
    assert "'chatml'" in done.stderr and "'vicuna'" in done.stderr


def test_an_adapter_of_another_base_is_refused(chat: Chat, adapter: str, tiny_model: Callable[[str], Path]) -> None:
    done = chat("--model_name_or_path", str(tiny_model("llama_tied")), "--adapter_name_or_path", adapter, typed="hi\n")
    assert done.returncode == 4
    assert "the adapter was trained on" in done.stderr
