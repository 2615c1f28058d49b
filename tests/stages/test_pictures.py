"""Pictures in a flattened batch: loss and gradients are those of the model's own forward on each example alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hone.data.stage import Limits
from hone.dialogue.example import IGNORED, Example
from hone.dialogue.message import Conversation, Media, Message, Text
from hone.dialogue.records import Chat
from hone.models.attention import run_alone, use_packed_attention
from hone.models.load import load_model
from hone.models.speed.quicken import quicken
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection, Recipe
from hone.recipe.schema.parts import MediaSection
from hone.runs.encoding import encoding_of

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava")
TEMPLATES = {"qwen2_5_vl": "qwen2_vl", "qwen3_vl": "qwen3_vl_nothink"}
SIZES = [(24, 40), (17, 9), (64, 16), (33, 33), (8, 90)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with five pictures of noise, each of another size."""
    random = torch.Generator().manual_seed(0)
    for number, (width, height) in enumerate(SIZES):
        noise = torch.randint(0, 256, (height, width, 3), generator=random, dtype=torch.uint8).numpy()
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    return tmp_path


def recipe_of(model: Path, kind: str, pictures: Path, **media: int) -> Recipe:
    from dataclasses import replace

    recipe = Recipe()
    return replace(
        recipe,
        model=replace(recipe.model, model_name_or_path=str(model)),
        data=replace(recipe.data, template=TEMPLATES.get(kind, kind), media_dir=str(pictures)),
        media=MediaSection(**media),
    )


def talk(*turns: tuple[tuple[Any, ...], str]) -> Chat:
    """Questions, of texts and numbers of pictures, with their answers."""
    messages = []
    for asked, answer in turns:
        parts = tuple(Media("image", f"{one}.png") if isinstance(one, int) else Text(one) for one in asked)
        messages += [Message("user", parts), Message("assistant", (Text(answer),))]
    return Chat(Conversation(tuple(messages)))


CHATS = [
    talk(((0, "Which animal?"), "a fox")),
    talk((("What is two and two?",), "four")),
    talk((("Compare ", 1, 2, " please."), "the dog is lazy"), (("And ", 3, "?"), "geese")),
    talk((("The same ", 4), "a model")),
]


def alone(model: Any, stage: Any, example: Example, kind: str) -> torch.Tensor:
    """The summed loss of one example by the model's own forward, positions by its own rule."""
    batch = stage.collate([example])
    ids = batch["input_ids"]
    given = {name: batch[name] for name in ("pixel_values", "image_grid_thw") if name in batch}
    if given and kind != "llava":
        given["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    logits = model(input_ids=ids, **given, use_cache=False).logits[0].float()
    targets = torch.from_numpy(example.labels.astype("int64"))[1:]
    return torch.nn.functional.cross_entropy(logits[:-1], targets, ignore_index=IGNORED, reduction="sum")


def examples_of(stage: Any, encoder: Any, chats: Sequence[Chat]) -> list[Example]:
    return [one.example for one in stage.encode(list(chats), encoder, Limits(2048))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_exactly_its_examples(seeing_model: Callable[[str], Path], pictures: Path, kind: str) -> None:
    recipe = recipe_of(seeing_model(kind), kind, pictures)
    encoding = encoding_of(recipe)
    stage, examples = encoding.stage, examples_of(encoding.stage, encoding.encoder, CHATS)
    assert [len(one.media) for one in examples] == [1, 0, 3, 1]
    model = load_model(recipe.model, dtype=torch.float32, device=torch.device("cpu")).train()
    losses = [alone(model, stage, one, kind) for one in examples]
    torch.stack(losses).sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert use_packed_attention(model) == "segments"
    batch = stage.collate(examples)
    found = stage.loss(model, batch)
    found.total.backward()
    assert found.total.item() == pytest.approx(torch.stack(losses).sum().item(), rel=1e-5)
    assert any("visual" in name or "vision_tower" in name for name in wanted)
    for name, parameter in model.named_parameters():
        if name in wanted:
            largest = wanted[name].abs().max().clamp(min=1e-2)
            assert (parameter.grad - wanted[name]).abs().max() <= 1e-5 * largest, name
    order = [2, 0, 1, 3]
    swapped = stage.collate([examples[place] for place in order])
    assert stage.loss(model, swapped).total.item() == pytest.approx(found.total.item(), rel=1e-5)
    parts = stage.cut(batch)
    assert sum(stage.loss(model, part).total.item() for part in parts) == pytest.approx(found.total.item(), rel=1e-5)
    other = {**batch, "pixel_values": batch["pixel_values"].flip(0)}
    assert stage.loss(model, other).total.item() != pytest.approx(found.total.item(), rel=1e-5)
    run_alone(model)
    assert stage.loss(model, batch).total.item() == pytest.approx(found.total.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_on_all_layers_leaves_out_what_sees_and_its_gradients_are_exact(
    seeing_model: Callable[[str], Path], pictures: Path, kind: str
) -> None:
    recipe = recipe_of(seeing_model(kind), kind, pictures)
    encoding = encoding_of(recipe)
    stage, examples = encoding.stage, examples_of(encoding.stage, encoding.encoder, CHATS)

    def made() -> Any:
        torch.manual_seed(5)
        base = load_model(recipe.model, dtype=torch.float32, device=torch.device("cpu"))
        model = attach(base, recipe.finetuning, recipe.model, training=True)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight.data, std=0.1)
        return model

    plain, fast = made(), made()
    learned = {name for name, weight in plain.named_parameters() if weight.requires_grad}
    assert learned and all("lora_" in name and "language_model" in name for name in learned)
    torch.stack([alone(plain, stage, one, kind) for one in examples]).sum().backward()
    use_packed_attention(fast)
    assert quicken(fast).blocks == (3 if kind == "llava" else 0)
    stage.loss(fast, stage.collate(examples)).total.backward()
    grads = {name: weight.grad for name, weight in fast.named_parameters() if weight.requires_grad}
    for name, weight in plain.named_parameters():
        if weight.requires_grad:
            largest = weight.grad.abs().max().clamp(min=1e-2)
            assert (grads[name] - weight.grad).abs().max() <= 2e-5 * largest, name


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_positions_are_those_of_the_library(seeing_model: Callable[[str], Path], pictures: Path, kind: str) -> None:
    recipe = recipe_of(seeing_model(kind), kind, pictures)
    encoding = encoding_of(recipe)
    model = load_model(recipe.model, dtype=torch.float32, device=torch.device("cpu"))
    for example in examples_of(encoding.stage, encoding.encoder, [CHATS[0], CHATS[2]]):
        batch = encoding.stage.collate([example])
        marks = (batch["input_ids"] == model.config.image_token_id).int()
        wanted, _ = model.model.get_rope_index(batch["input_ids"], marks, batch["image_grid_thw"])
        assert torch.equal(batch["position_ids"][1:], wanted)
        assert torch.equal(batch["position_ids"][0, 0], torch.arange(len(example.input_ids)))


@pytest.mark.parametrize(
    ("tower", "projector", "language"), [(True, True, False), (False, True, True), (True, False, True)]
)
@pytest.mark.parametrize("how", ["full", "freeze"])
def test_the_three_keys_say_what_stands_still(
    seeing_model: Callable[..., Path], tower: bool, projector: bool, language: bool, how: str
) -> None:
    model = seeing_model("qwen2_vl", num_hidden_layers=2)  # as many blocks as what sees has
    section = ModelSection(model_name_or_path=str(model))
    finetuning = FinetuningSection(
        finetuning_type=how,  # type: ignore[arg-type]
        freeze_vision_tower=tower,
        freeze_multi_modal_projector=projector,
        freeze_language_model=language,
        freeze_trainable_layers=1,
    )
    base = load_model(section, dtype=torch.float32, device=torch.device("cpu"))
    learned = {n for n, p in attach(base, finetuning, section, training=True).named_parameters() if p.requires_grad}
    found = {
        "projector": any("visual.merger" in name for name in learned),
        "tower": any("visual" in name and "merger" not in name for name in learned),
        "language": any("language_model" in name for name in learned),
    }
    assert found == {"projector": not projector, "tower": not tower, "language": not language}
    if how == "freeze" and not language:
        assert not any("language_model.layers.0." in name for name in learned)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", pytest.param("llava", marks=pytest.mark.slow)])
def test_answers_are_learned_that_only_the_pictures_tell(
    seeing_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    for number, colour in enumerate(["red", "blue", "red", "blue"]):
        Image.new("RGB", (24, 24 + 4 * (number // 2)), colour).save(tmp_path / f"{number}.png")
    recipe = recipe_of(seeing_model(kind), kind, tmp_path)
    encoding = encoding_of(recipe)
    stage = encoding.stage
    told = [talk(((number, "Which?"), "red" if number % 2 == 0 else "blue")) for number in range(4)]
    examples = examples_of(stage, encoding.encoder, told)
    assert len({example.labels[example.labels != IGNORED].tobytes() for example in examples}) == 2
    torch.manual_seed(0)
    base = load_model(recipe.model, dtype=torch.float32, device=torch.device("cpu"))
    model = attach(base, FinetuningSection(finetuning_type="full"), recipe.model, training=True)
    use_packed_attention(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(120):
        found = stage.loss(model, stage.collate(examples))
        found.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(found.total.item())
        if losses[-1] < 1:
            break
    # Who does not see must guess one of two answers, four times: 4 ln 2 = 2.77 at best.
    assert losses[0] > 20 and losses[-1] < 1, losses[::5]


@pytest.mark.parametrize("language", [False, True])
def test_what_sees_gets_a_zero_gradient_and_not_none_where_a_batch_shows_nothing(
    seeing_model: Callable[..., Path], pictures: Path, language: bool
) -> None:
    recipe = recipe_of(seeing_model("qwen2_vl"), "qwen2_vl", pictures)
    encoding = encoding_of(recipe)
    finetuning = FinetuningSection(
        finetuning_type="full", freeze_multi_modal_projector=False, freeze_vision_tower=language,
        freeze_language_model=language,
    )  # fmt: skip
    base = load_model(recipe.model, dtype=torch.float32, device=torch.device("cpu"))
    model = attach(base, finetuning, recipe.model, training=True)
    use_packed_attention(model)
    text = encoding.stage.collate(examples_of(encoding.stage, encoding.encoder, [CHATS[1]]))
    encoding.stage.loss(model, text).total.backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(grad is not None for grad in grads.values())
    assert all(not grad.any() for name, grad in grads.items() if "visual" in name)
    assert any(grad.any() for grad in grads.values()) is not language
