"""Adapters by name over HTTP: chosen by `model`, loaded and taken away under way, refused with a reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

KEY = "sesame-opens-this"
ASKED = ["Is it?", "geese watch", "一个小模型", "def add(a, b):", "x", "Who are you, and what do you do?"]


@dataclass(frozen=True)
class Place:
    """A server with the adapters `first` and `second`, and folders that more may be loaded from."""

    url: str
    root: Path
    base: Path
    folders: dict[str, Path]

    def post(self, path: str, **body: Any) -> tuple[int, str]:
        """Status and text."""
        answer = httpx.post(f"{self.url}{path}", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
        return answer.status_code, answer.text

    def load(self, name: str, path: str, **more: Any) -> tuple[int, str]:
        return self.post("/v1/load_lora_adapter", lora_name=name, lora_path=path, **more)

    def unload(self, name: str) -> tuple[int, str]:
        return self.post("/v1/unload_lora_adapter", lora_name=name)


def make_adapter(base: Path, folder: Path, seed: int) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


def session_of(**keys: Any) -> Any:
    from hone.recipe import settle
    from hone.runs.session import open_session

    return open_session(settle({"template": "chatml", **keys}, verb="chat"), by_name=True)


@pytest.fixture(scope="module")
def place(
    tiny_model: Callable[[str], Path], serve: Callable[[Any], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    from hone.engines.base import Settings
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service

    root, base = tmp_path_factory.mktemp("adapters").resolve(), tiny_model("llama")
    folders = {name: make_adapter(base, root / name, seed) for seed, name in enumerate(("first", "second", "third"))}
    session = session_of(
        model_name_or_path=str(base), adapter_name_or_path=f"first={folders['first']},second={folders['second']}"
    )
    settings = Settings(max_new_tokens=16, elastic=True, do_sample=False, stop_ids=tuple(session.encoder.stop_ids))
    with serve(make_app(Service(session, settings, "tiny", [root]), Door(KEY))) as url:
        yield Place(url, root, base, folders)


@pytest.fixture
def client(place: Place) -> Any:
    return openai.OpenAI(base_url=f"{place.url}/v1", api_key=KEY, max_retries=0, timeout=30)


def ask(client: Any, model: str, text: str = "Is it?", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


@pytest.fixture(scope="module")
def merged(place: Place) -> Callable[[str, str], str]:
    """What the model alone says, and with an adapter merged into its weights, one request at a time."""
    from hone.dialogue.message import Conversation, Message, Text
    from hone.engines.base import Settings

    sessions = {
        name: session_of(
            model_name_or_path=str(place.base), **({"adapter_name_or_path": str(place.folders[name])} if folder else {})
        )
        for name, folder in [("tiny", False), ("first", True), ("second", True)]
    }

    def answer(name: str, text: str) -> str:
        session = sessions[name]
        settings = Settings(do_sample=False, max_new_tokens=16, stop_ids=tuple(session.encoder.stop_ids))
        reply = session.say(Conversation((Message("user", (Text(text),)),)), settings)
        list(reply)
        return reply.message.text

    return answer


def test_each_request_is_answered_by_the_adapter_it_names(client: Any, merged: Callable[[str, str], str]) -> None:
    names = ["first", "tiny", "second"]
    asked = [(names[place % 3], text) for place, text in enumerate([*ASKED, *reversed(ASKED)])]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda one: ask(client, *one), asked))
    assert [answer.choices[0].message.content for answer in answers] == [merged(*one) for one in asked]
    assert [answer.model for answer in answers] == [name for name, _ in asked]
    assert len({ask(client, name).choices[0].message.content for name in names}) == 3


def test_models_are_listed_and_a_name_that_is_none_is_told(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "first", "second"]
    assert client.models.retrieve("second").parent == "tiny"
    for wrong in (lambda: ask(client, "third"), lambda: client.models.retrieve("third")):
        with pytest.raises(openai.NotFoundError) as told:
            wrong()
        assert told.value.code == "model_not_found"


def test_texts_are_measured_by_the_adapter_that_is_named(client: Any) -> None:
    found = [client.embeddings.create(model=name, input="geese").data[0].embedding for name in ("tiny", "first")]
    assert found[0] != pytest.approx(found[1], abs=1e-3)


def test_an_adapter_is_loaded_and_taken_away_while_others_are_answered(client: Any, place: Place) -> None:
    assert place.load("third", "third")[0] == 200
    stream = ask(client, "third", max_tokens=200, stream=True)
    beside = ask(client, "first", max_tokens=200, stream=True)
    begun = [next(iter(stream)), next(iter(beside))]
    assert place.unload("third") == (200, "Success: LoRA adapter 'third' removed successfully.")
    assert len(begun) == 2
    assert [chunk for chunk in stream if chunk.choices][-1].choices[0].finish_reason in ("length", "stop")
    assert [chunk for chunk in beside if chunk.choices][-1].choices[0].finish_reason in ("length", "stop")
    with pytest.raises(openai.NotFoundError):
        ask(client, "third")
    assert place.unload("third")[0] == 404


def test_a_name_is_taken_once_and_given_again_only_in_place(client: Any, place: Place) -> None:
    try:
        assert place.load("changing", str(place.folders["first"]))[0] == 200
        before = ask(client, "changing").choices[0].message.content
        status, said = place.load("changing", str(place.folders["second"]))
        assert (status, json.loads(said)["error"]["param"]) == (400, "lora_name")
        assert place.load("changing", str(place.folders["second"]), load_inplace=True)[0] == 200
        after = ask(client, "changing").choices[0].message.content
        assert [before, after] == [ask(client, name).choices[0].message.content for name in ("first", "second")]
    finally:
        place.unload("changing")
    assert place.load("tiny", str(place.folders["first"]))[0] == 400


@pytest.fixture(scope="module")
def corners(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that must not be read, and links to them from within."""
    outside = make_adapter(place.base, tmp_path_factory.mktemp("outside") / "adapter", 9)
    (place.root / "link").symlink_to(outside)
    (place.root / "partly").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (place.root / "partly" / name).symlink_to(outside / name)
    (place.root / "pipe").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        os.mkfifo(place.root / "pipe" / name)
    (place.root / "circle").symlink_to(place.root / "circle")
    (place.root / "pickle").mkdir()
    (place.root / "pickle" / "adapter_config.json").write_text("{}")
    (place.root / "pickle" / "adapter_model.bin").write_bytes(b"x")
    return outside


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("{outside}", 403),
        ("../{outside_name}", 403),
        ("/etc", 403),
        ("/nowhere/at/all", 403),
        ("link", 403),
        ("partly", 404),
        ("pipe", 404),
        ("pickle", 404),
        ("nothing", 404),
        ("first/adapter_config.json", 404),
        ("", 400),
        (3, 400),
        ("a\u0000b", 400),
        ("circle", 403),
        ("x" * 4000, 403),
    ],
)
def test_paths_stay_within_their_folders(place: Place, corners: Path, path: Any, status: int) -> None:
    if isinstance(path, str):
        path = path.replace("{outside}", str(corners)).replace("{outside_name}", f"{corners.parent.name}/adapter")
    found, said = place.load("odd", path)
    error = json.loads(said)["error"]
    assert (found, error["param"]) == (status, "lora_path"), said
    assert str(place.root) not in said
    assert str(corners) not in said


@pytest.mark.parametrize("name", ["", None, 3, "a b", "x" * 129, "\n", "-a"])
def test_names_are_words(place: Place, name: Any) -> None:
    status, said = place.load(name, "first")
    assert (status, json.loads(said)["error"]["param"]) == (400, "lora_name")


def test_adapters_that_do_not_fit_are_refused_with_the_reason(place: Place) -> None:
    from hone.rundir import RunCard, write_card

    other = make_adapter(place.base, place.root / "other", 4)
    write_card(other, RunCard(base_model="/home/me/secret", base_fingerprint="0" * 32))
    broken = make_adapter(place.base, place.root / "broken", 4)
    (broken / "adapter_model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      junk")
    dora = make_adapter(place.base, place.root / "dora", 4)
    config = json.loads((dora / "adapter_config.json").read_text())
    (dora / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    for name, word in [("other", "another base model"), ("broken", ""), ("dora", "use_dora")]:
        status, said = place.load("odd", name)
        assert status == 400
        assert word in said
        assert str(place.root) not in said
        assert "secret" not in said
    assert place.post("/v1/load_lora_adapter", lora_name="a", lora_path="first", odd=1)[0] == 400


def test_an_adapter_is_spoken_to_by_the_template_of_its_own_card(
    tiny_model: Callable[[str], Path], place: Place, tmp_path: Path
) -> None:
    from hone.rundir import RunCard, write_card

    own = make_adapter(place.base, tmp_path / "own", 5)
    write_card(own, RunCard(template="qwen", template_options={"default_system": "Be a goose."}))
    session = session_of(model_name_or_path=str(place.base), template=None, adapter_name_or_path=f"own={own}")
    assert session.encoder_of("own").template.name == "qwen"
    with pytest.raises(Exception, match="trained with"):
        session_of(model_name_or_path=str(place.base), adapter_name_or_path=f"own={own}")


def test_without_allowed_folders_nothing_is_loaded(served: Any) -> None:
    body = {"lora_name": "a", "lora_path": "/etc"}
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{served.url}/v1/load_lora_adapter", json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "adapter_not_allowed")


@pytest.mark.parametrize("given", ["one={first},{second}", "one={first},one={second}"])
def test_names_are_given_to_all_or_to_none(place: Place, given: str) -> None:
    from hone.errors import RecipeError

    adapters = given.format(**place.folders)
    with pytest.raises(RecipeError, match="name"):
        session_of(model_name_or_path=str(place.base), adapter_name_or_path=adapters)
