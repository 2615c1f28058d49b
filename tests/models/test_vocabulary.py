"""A larger vocabulary: words, rows, how rows start, and an adapter that brings both along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import ModelError, RecipeError
from hone.models.load import load_model
from hone.models.save import save_model
from hone.models.tokenizer import load_tokenizer
from hone.models.tuners import attach
from hone.models.vocabulary import add_words, grow_model
from hone.recipe import FinetuningSection, ModelSection, settle

WORDS = ("<mood>", "<tone>")


def grown(folder: Path, *adapters: Path, training: bool = True, tuning: Any = None, **wishes: Any) -> tuple[Any, Any]:
    section = ModelSection(model_name_or_path=str(folder), adapter_name_or_path=tuple(map(str, adapters)), **wishes)
    tokenizer = load_tokenizer(section)
    add_words(tokenizer, section)
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"))
    grow_model(model, tokenizer, section)
    return attach(model, tuning or FinetuningSection(), section, training=training), tokenizer


def full(tokenizer: Any, folder: Path) -> None:
    """Fill the tokenizer's vocabulary up to the model's rows, so that the next word needs a row."""
    tokenizer.add_tokens([f"<fill{n}>" for n in range(512 - len(tokenizer))])
    tokenizer.save_pretrained(folder)


@pytest.fixture
def tight(folder: Path) -> Path:
    """A model with exactly as many rows as its tokenizer has words."""
    full(load_tokenizer(ModelSection(model_name_or_path=str(folder))), folder)
    return folder


def test_words_get_ids_and_rows_in_steps_of_64(tight: Path) -> None:
    model, tokenizer = grown(tight, add_tokens=("hello_world",), add_special_tokens=WORDS)
    assert tokenizer.convert_tokens_to_ids(["hello_world", *WORDS]) == [512, 513, 514]
    assert tokenizer("a<mood>b")["input_ids"][1] == 513
    assert set(WORDS) <= set(tokenizer.all_special_tokens)
    assert "hello_world" not in tokenizer.all_special_tokens
    rows = {name: p.shape[0] for name, p in model.named_parameters() if "embed_tokens" in name or "lm_head" in name}
    assert set(rows.values()) == {576}
    assert model.config.vocab_size == 576


def test_without_a_wish_nothing_grows(tight: Path) -> None:
    model, tokenizer = grown(tight)
    assert len(tokenizer) == model.get_input_embeddings().weight.shape[0] == 512


def test_the_old_rows_stay_and_new_ones_start_near_their_mean(tight: Path) -> None:
    before = load_model(ModelSection(model_name_or_path=str(tight)), dtype=torch.float32, device=torch.device("cpu"))
    after, _ = grown(tight, add_special_tokens=WORDS, tuning=FinetuningSection(finetuning_type="full"))
    for old, new in ((before.get_input_embeddings(), after.get_input_embeddings()), (before.lm_head, after.lm_head)):
        assert torch.equal(new.weight[:512], old.weight)
        fresh = new.weight[512:] - old.weight.mean(0)
        assert 0 < fresh.abs().max() < 5 * old.weight.std()
        assert not torch.equal(fresh[0], fresh[1])


@pytest.mark.parametrize("init", ["desc_init", "desc_init_w_noise"])
def test_a_description_says_where_a_row_starts(tight: Path, tmp_path: Path, init: str) -> None:
    path = tmp_path / "new.yaml"
    path.write_text('"<mood>": a fox\n"<tone>": the dog\n')
    wishes = {"new_special_tokens_config": str(path), "init_special_tokens": init, "add_special_tokens": ("<other>",)}
    model, tokenizer = grown(tight, tuning=FinetuningSection(finetuning_type="full"), **wishes)
    assert "<other>" not in tokenizer.get_vocab()  # the file wins
    table = model.get_input_embeddings().weight
    for word, meaning in (("<mood>", "a fox"), ("<tone>", "the dog")):
        wanted = table[tokenizer(meaning, add_special_tokens=False)["input_ids"]].mean(0)
        same = torch.allclose(table[tokenizer.convert_tokens_to_ids(word)], wanted, atol=1e-6)
        assert same is (init == "desc_init")


def test_a_list_of_new_tokens_that_is_none_is_refused(tight: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    for text in ("- one\n- two\n", "a: [1]\n", "a: b: c\n"):
        path.write_text(text)
        with pytest.raises(ModelError, match="VOCABULARY"):
            grown(tight, new_special_tokens_config=str(path))
    recipe = {"model_name_or_path": "m", "stage": "sft", "do_train": True, "dataset": "d"}
    with pytest.raises(RecipeError, match="new_special_tokens_config"):
        settle({**recipe, "init_special_tokens": "desc_init"}, verb="train")


@pytest.mark.parametrize("family", ["llama", "llama_tied"])
def test_an_adapter_brings_its_rows_and_words_along(tiny_model: Any, tmp_path: Path, family: str) -> None:
    import shutil

    tight = Path(shutil.copytree(tiny_model(family), tmp_path / "model"))
    full(load_tokenizer(ModelSection(model_name_or_path=str(tight))), tight)
    model, tokenizer = grown(tight, add_special_tokens=WORDS)
    learned = {name for name, p in model.named_parameters() if p.requires_grad and "lora" not in name}
    assert len(learned) == (1 if family == "llama_tied" else 2)
    ids = torch.tensor([[1, 5, tokenizer.convert_tokens_to_ids("<tone>"), 9]])
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter) * 0.05)
        expected = model.eval()(ids).logits
        save_model(model, tokenizer, tmp_path / "adapter")
        for training in (True, False):
            again, words = grown(tight, tmp_path / "adapter", training=training)
            assert words.convert_tokens_to_ids("<tone>") == ids[0, 2]
            assert torch.allclose(again.eval()(ids).logits, expected, atol=1e-5)


def test_embeddings_learn_under_freeze_too(tight: Path) -> None:
    model, _ = grown(tight, resize_vocab=True, tuning=FinetuningSection(finetuning_type="freeze"))
    assert model.get_input_embeddings().weight.requires_grad
    assert model.get_output_embeddings().weight.requires_grad
