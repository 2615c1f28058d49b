"""Pictures in pairs and judged answers: losses and gradients are those of the model's own forward on each alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pairing import join
from PIL import Image
from torch.nn import functional

from hone.data.stage import Limits
from hone.dialogue.example import IGNORED, Example
from hone.dialogue.message import Conversation, Media, Message, Text
from hone.dialogue.records import Chat, Feedback, Preference
from hone.errors import ModelError
from hone.media import viewer
from hone.models.attention import run_alone, use_packed_attention
from hone.models.load import load_model
from hone.models.value_head import segment_values
from hone.recipe import FinetuningSection, Recipe
from hone.runs.encoding import Encoding, encoding_of
from hone.stages import load_stage
from hone.stages.shared.reference import Materials, SecondModel
from hone.training.losses.pairs import Pairs, Strength
from hone.training.losses.preference import load_loss

KINDS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava")
TEMPLATES = {"qwen2_5_vl": "qwen2_vl", "qwen3_vl": "qwen3_vl_nothink"}
LOSSES = ("sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo")
BETA, CPU = 0.3, torch.device("cpu")
Parts = tuple[Any, ...]
Looked = Callable[..., tuple[Recipe, Encoding]]


@pytest.fixture
def looked(seeing_model: Callable[..., Path], tmp_path: Path) -> Looked:
    """`looked("llava", stage="dpo")`: a recipe over four pictures of noise, and what encodes for that stage."""
    random = torch.Generator().manual_seed(0)
    for number, (width, height) in enumerate([(24, 40), (64, 16), (33, 33), (8, 90)]):
        noise = torch.randint(0, 256, (height, width, 3), generator=random, dtype=torch.uint8).numpy()
        Image.fromarray(noise).save(tmp_path / f"{number}.png")

    def make(kind: str, **settings: Any) -> tuple[Recipe, Encoding]:
        recipe = Recipe()
        recipe = replace(
            recipe,
            model=replace(recipe.model, model_name_or_path=str(seeing_model(kind))),
            data=replace(recipe.data, template=TEMPLATES.get(kind, kind), media_dir=str(tmp_path)),
            finetuning=FinetuningSection(pref_beta=BETA, **settings),
        )
        return recipe, encoding_of(recipe)

    return make


def message(role: Any, *parts: Any) -> Message:
    """Texts and numbers of pictures."""
    made = (Media("image", f"{one}.png") if isinstance(one, int) else Text(one) for one in parts)
    return Message(role, tuple(made))


def pair(*asked: Parts, better: Parts, worse: Parts) -> Preference:
    """Questions and answers in turns, and two answers to the last."""
    said = tuple(message("assistant" if place % 2 else "user", *one) for place, one in enumerate(asked))
    return Preference(Conversation(said), message("assistant", *better), message("assistant", *worse))


PAIRS = [
    pair((0, "Which animal?"), better=("a fox",), worse=("the dog is lazy",)),
    pair(("Two and two?",), better=("four",), worse=("a model",)),
    pair(
        ("Compare ", 1, 2, " please."), ("the dog",), ("And ", 0, "?"), better=("geese watch",), worse=("four geese",)
    ),
    pair(("Draw one",), better=("like ", 3, " this"), worse=("a fox ", 1, " and ", 2, " here")),
]
MEDIA = ["0 0", "", "1 2 0 1 2 0", "3 1 2"]
"""The pictures of each pair: those of its better answer with the question, and those of its worse one."""


JUDGED = [
    Feedback(replace(one.prompt, messages=(*one.prompt.messages, answer)), good)
    for one, answer, good in zip(
        PAIRS,
        (message("assistant", "a fox"), *(one.chosen for one in PAIRS[1:])),
        (True, False, True, False),
        strict=True,
    )
]


def answered(prompt: Conversation, answer: Message) -> Chat:
    return Chat(replace(prompt, messages=(*prompt.messages, answer)))


def sides(records: Sequence[Preference]) -> list[Chat]:
    """Better, worse, better … each with its question."""
    return [answered(one.prompt, side) for one in records for side in (one.chosen, one.rejected)]


def alone(model: Any, encoding: Encoding, chats: Sequence[Chat]) -> list[tuple[Any, torch.Tensor]]:
    """What the model's own forward gives for each conversation alone, positions by its own rule; and its labels, which
    are those of supervised training on the last answer."""
    sft = load_stage(FinetuningSection())
    made = sft.encode(list(chats), encoding.encoder, Limits(2048, mask_history=True))
    return [(own(model, encoding, one.example), torch.from_numpy(one.example.labels.astype("int64"))) for one in made]


def own(model: Any, encoding: Encoding, example: Example) -> Any:
    ids = torch.from_numpy(example.input_ids.astype("int64"))[None]
    ends = torch.tensor([ids.shape[1]]).numpy()
    shown = encoding.stage.viewer.seen(example.input_ids, ends, example.media)
    given = {name: shown[name] for name in ("pixel_values", "image_grid_thw") if name in shown}
    if "image_grid_thw" in given:
        given["mm_token_type_ids"] = (ids == model.config.image_token_id).int()
    return model(input_ids=ids, **given, use_cache=False, output_hidden_states=True)


def log_probabilities(model: Any, encoding: Encoding, chats: Sequence[Chat]) -> torch.Tensor:
    """The summed log-probability of each last answer [S]."""
    found = [
        -functional.cross_entropy(out.logits[0, :-1].float(), labels[1:], ignore_index=IGNORED, reduction="sum")
        for out, labels in alone(model, encoding, chats)
    ]
    return torch.stack(found)


def shaken(recipe: Recipe) -> Any:
    """Another model than the plain one."""
    model = load_model(recipe.model, dtype=torch.float32, device=CPU).train()
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn(weight.shape, generator=random) * 0.02
    return model


def plain(recipe: Recipe) -> Any:
    return load_model(recipe.model, dtype=torch.float32, device=CPU).train()


def assert_gradients(model: Any, wanted: dict[str, torch.Tensor], *, rel: float = 1e-5) -> None:
    assert any("visual" in name or "vision_tower" in name for name in wanted)
    for name, weight in model.named_parameters():
        if name in wanted:
            largest = wanted[name].abs().max().clamp(min=1e-2)
            assert (weight.grad - wanted[name]).abs().max() <= rel * largest, name


def gradients(model: Any, total: torch.Tensor) -> dict[str, torch.Tensor]:
    total.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def encoded(encoding: Encoding, records: Sequence[Any]) -> list[Example]:
    return [one.example for one in encoding.stage.encode(list(records), encoding.encoder, Limits(2048))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_pairs_is_exactly_its_answers(looked: Looked, kind: str) -> None:
    recipe, encoding = looked(kind, stage="dpo")
    stage, examples = encoding.stage, encoded(encoding, PAIRS)
    model, reference = shaken(recipe), plain(recipe)
    chats = sides(PAIRS)
    with torch.no_grad():
        before = log_probabilities(reference, encoding, chats)
    ratios = log_probabilities(model, encoding, chats) - before
    wished = -functional.logsigmoid(BETA * (ratios[0::2] - ratios[1::2])).sum()
    wanted = gradients(model, wished)

    assert use_packed_attention(model) == "segments"
    use_packed_attention(reference)
    stage.reference = SecondModel(reference)
    batch = stage.collate(examples)
    found = stage.loss(model, batch)
    assert found.total.item() == pytest.approx(wished.item(), rel=1e-5)
    assert found.sums["rewards/chosen"][0].item() == pytest.approx(BETA * ratios[0::2].sum().item(), rel=1e-4)
    found.total.backward()
    assert_gradients(model, wanted)

    def same(*batches: Any) -> None:
        total = sum(stage.loss(model, one).total.item() for one in batches)
        assert total == pytest.approx(wished.item(), rel=1e-5)

    with torch.no_grad():
        same(stage.collate([examples[place] for place in (2, 0, 3, 1)]))
        same(stage.collate([joined(examples[:3]), examples[3]]))
        same(*stage.cut(batch))
        same(*(stage.collate([one]) for one in examples))
        other = {**batch, "pixel_values": batch["pixel_values"].flip(0)}
        assert stage.loss(model, other).total.item() != pytest.approx(wished.item(), rel=1e-5)
        run_alone(model)
        same(batch)


def joined(examples: Sequence[Example]) -> Example:
    """Several examples as one pack, their pictures in order."""
    return replace(join(examples), media=tuple(medium for one in examples for medium in one.media))


def others(records: Sequence[Feedback]) -> list[Chat]:
    """Each question with the answer of the row before."""
    answers = [one.conversation.messages[-1] for one in records]
    asked = [replace(one.conversation, messages=one.conversation.messages[:-1]) for one in records]
    return [answered(one, answer) for one, answer in zip(asked, [answers[-1], *answers[:-1]], strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_judged_answers_is_exactly_each_of_them(looked: Looked, kind: str) -> None:
    weights = {"kto_chosen_weight": 0.7, "kto_rejected_weight": 1.3}
    recipe, encoding = looked(kind, stage="kto", **weights)
    stage, examples = encoding.stage, encoded(encoding, JUDGED)
    reference, model = shaken(recipe), plain(recipe)  # so that the drift is above 0
    chats = [Chat(one.conversation) for one in JUDGED]
    with torch.no_grad():
        before, before_others = (log_probabilities(reference, encoding, said) for said in (chats, others(JUDGED)))
        drift = (log_probabilities(model, encoding, others(JUDGED)) - before_others).mean().clamp(min=0)
    ratios = log_probabilities(model, encoding, chats) - before
    liked, disliked = ratios[0::2], ratios[1::2]
    wished = 0.7 * (1 - torch.sigmoid(BETA * (liked - drift))).sum()
    wished = wished + 1.3 * (1 - torch.sigmoid(BETA * (drift - disliked))).sum()
    wanted = gradients(model, wished)
    assert drift > 0.01

    use_packed_attention(model)
    use_packed_attention(reference)
    stage.reference = SecondModel(reference)
    batch = stage.collate(examples)
    found = stage.loss(model, batch)
    assert found.total.item() == pytest.approx(wished.item(), rel=1e-5)
    assert found.sums["kl"][0].item() == pytest.approx(4 * drift.item(), rel=1e-4)
    found.total.backward()
    assert_gradients(model, wanted)
    with torch.no_grad():
        for same in (
            [stage.collate([examples[place] for place in (2, 0, 3, 1)])],
            [stage.collate([joined(examples[:3]), examples[3]])],
            stage.cut(batch),
        ):
            total = sum(stage.loss(model, one).total.item() for one in same)
            assert total == pytest.approx(wished.item(), rel=1e-5)
        for name in ("pixel_values", "kl_pixel_values"):
            other = {**batch, name: batch[name].flip(0)}
            assert stage.loss(model, other).total.item() != pytest.approx(wished.item(), rel=1e-5)
        run_alone(model)
        assert stage.loss(model, batch).total.item() == pytest.approx(wished.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_a_batch_are_those_of_its_answers(looked: Looked, kind: str) -> None:
    recipe, encoding = looked(kind, stage="rm")
    stage, examples = encoding.stage, encoded(encoding, PAIRS)
    model = shaken(recipe)
    torch.manual_seed(3)
    stage.equip(model, Materials(recipe.model, recipe.quantization, recipe.finetuning, torch.float32, CPU))
    model.v_head.dropout = 0.0
    ends = [out.hidden_states[-1][0, -1] for out, _ in alone(model, encoding, sides(PAIRS))]
    scores = torch.stack(ends) @ model.v_head.summary.weight[0] + model.v_head.summary.bias
    wished = -functional.logsigmoid(scores[0::2] - scores[1::2]).sum()
    wanted = gradients(model, wished)
    assert "v_head.summary.weight" in wanted

    use_packed_attention(model)
    batch = stage.collate(examples)
    found = stage.loss(model, batch)
    assert found.total.item() == pytest.approx(wished.item(), rel=1e-5)
    found.total.backward()
    assert_gradients(model, wanted, rel=5e-5)
    with torch.no_grad():
        assert torch.allclose(segment_values(model, batch), scores, atol=1e-5)
        for same in ([stage.collate([joined(examples[:3]), examples[3]])], stage.cut(batch)):
            assert sum(stage.loss(model, one).total.item() for one in same) == pytest.approx(wished.item(), rel=1e-5)
        other = {**batch, "pixel_values": batch["pixel_values"].flip(0)}
        assert stage.loss(model, other).total.item() != pytest.approx(wished.item(), rel=1e-5)
        run_alone(model)
        assert stage.loss(model, batch).total.item() == pytest.approx(wished.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava"])
def test_every_loss_is_made_of_the_same_log_probabilities(looked: Looked, kind: str) -> None:
    recipe, encoding = looked(kind, stage="dpo")
    examples, chats = encoded(encoding, PAIRS), sides(PAIRS)
    model, reference = shaken(recipe), plain(recipe)
    with torch.no_grad():
        policy, before = (log_probabilities(one, encoding, chats) for one in (model, reference))
        use_packed_attention(model)
        counts = torch.tensor([(chat_labels[1:] != IGNORED).sum() for _, chat_labels in alone(model, encoding, chats)])
        for name in LOSSES:
            stage = load_stage(FinetuningSection(stage="dpo", pref_beta=BETA, pref_loss=name))  # type: ignore[arg-type]
            stage.viewer = encoding.stage.viewer
            stage.reference = SecondModel(reference) if stage.compares else None
            loss = load_loss(name)
            by = counts if loss.AVERAGED else torch.ones_like(counts)
            mine, theirs = policy / by, before / by * bool(stage.compares)
            pairs = Pairs(mine[0::2], mine[1::2], theirs[0::2], theirs[1::2])
            wished = loss.losses(pairs, Strength(BETA)).sum().item()
            assert stage.loss(model, stage.collate(examples)).total.item() == pytest.approx(wished, rel=1e-5), name


def shown_by(example: Example) -> str:
    return " ".join(str(medium.source)[0] for medium in example.media)


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pictures are written down here when they are decoded."""
    seen: list[str] = []
    opened = viewer.opened

    def noted(medium: Media, *rest: Any) -> Any:
        seen.append(str(medium.source))
        return opened(medium, *rest)

    monkeypatch.setattr(viewer, "opened", noted)
    return seen


def test_another_answer_is_asked_with_the_pictures_of_the_question_it_follows(
    looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, encoding = looked("llava", stage="kto")
    examples, stage = encoded(encoding, JUDGED), encoding.stage
    assert [shown_by(one) for one in examples] == ["0 0 3", "", "1 2 0 1 2 0", "3"]
    sft = load_stage(FinetuningSection())
    sft.viewer = stage.viewer
    seen = decoded(monkeypatch)
    batch = stage.collate([joined(examples[:2]), *examples[2:]])
    assert sorted(seen) == ["0.png", "1.png", "2.png", "3.png"]
    for prefix, chats in (("", [Chat(one.conversation) for one in JUDGED]), ("kl_", others(JUDGED))):
        made = sft.encode(chats, encoding.encoder, Limits(2048, mask_history=True))
        wanted = sft.collate([one.example for one in made])
        for name in ("input_ids", "labels", "position_ids", "cu_seqlens", "media_of_segment", "pixel_values"):
            assert torch.equal(batch[prefix + name], wanted[name]), prefix + name


def test_pictures_stand_with_the_answers_they_belong_to_and_are_decoded_once(
    looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, encoding = looked("qwen2_vl", stage="dpo")
    examples, stage = encoded(encoding, PAIRS), encoding.stage
    assert [shown_by(one) for one in examples] == MEDIA
    sft = load_stage(FinetuningSection())
    sft.viewer = stage.viewer
    single = sft.encode(sides(PAIRS), encoding.encoder, Limits(2048, mask_history=True))
    whole = joined([one.example for one in single])
    assert joined(examples) == whole
    seen = decoded(monkeypatch)
    batch = stage.collate(examples)
    assert sorted(seen) == ["0.png", "1.png", "2.png", "3.png"]
    assert batch["media_of_segment"].tolist() == [1, 1, 0, 0, 3, 3, 1, 2]
    again = sft.collate([whole])
    for place, one in enumerate(single):
        alone = sft.collate([one.example])
        start, stop = batch["cu_seqlens"][place : place + 2].tolist()
        assert torch.equal(batch["position_ids"][..., start:stop], alone["position_ids"])
    assert torch.equal(batch["pixel_values"], again["pixel_values"])


@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_a_cut_never_splits_a_picture(looked: Looked, stage: str) -> None:
    _, encoding = looked("qwen2_vl", stage=stage)
    record = (JUDGED if stage == "kto" else PAIRS)[2]
    whole = encoded(encoding, [record])[0]
    counted = len(whole.input_ids) if stage == "dpo" else whole.lengths[0]
    left_out = set()
    for cutoff_len in range(4, max(whole.lengths) + 4):
        made = encoding.stage.encode([record], encoding.encoder, Limits(cutoff_len))[0]
        left_out.add(not made.example.learned)
        kept = len(made.example.input_ids) if stage == "dpo" else made.example.lengths[0]
        assert kept + made.lost == counted
        assert max(made.example.lengths) <= cutoff_len
        if made.example.learned:
            assert made.example.media == whole.media
            encoding.stage.collate([made.example])  # refuses pictures and tokens that do not agree
        else:
            assert not made.example.media and not len(made.example.input_ids)
    assert left_out == {True, False}
    assert made.example == whole


def test_another_answer_gives_way_to_the_pictures_of_the_question_it_follows(looked: Looked) -> None:
    _, encoding = looked("qwen2_vl", stage="kto")
    long = Feedback(Conversation((message("user", "Why?"), message("assistant", "a dog and a fox. " * 40))), False)
    short = Feedback(Conversation((message("user", 0, "Which animal?"), message("assistant", "a fox"))), True)
    whole, _ = encoded(encoding, [short, long])
    assert whole.lengths[1] > 200
    made, _ = encoding.stage.encode([short, long], encoding.encoder, Limits(80))
    assert made.example.lengths == (whole.lengths[0], 80) and made.lost == 0
    assert made.example.media == whole.media
    encoding.stage.collate([made.example])  # refuses pictures and tokens that do not agree
    kept = made.example.input_ids[whole.lengths[0] :].tolist()
    sight = int(encoding.encoder.sees(made.example.input_ids).sum()) // 2
    assert encoding.encoder.sees(whole.input_ids[whole.lengths[0] :]).sum() == sight
    assert 80 - kept.index(encoding.encoder.viewer.token) - sight > 20  # tokens of the other answer


@pytest.mark.parametrize("stage", ["dpo", "kto", "rm"])
def test_what_sees_gets_a_zero_gradient_where_a_batch_shows_nothing(looked: Looked, stage: str) -> None:
    recipe, encoding = looked("qwen2_vl", stage=stage, finetuning_type="full")
    model, reference = shaken(recipe), plain(recipe)
    if stage == "rm":
        encoding.stage.equip(model, Materials(recipe.model, recipe.quantization, recipe.finetuning, torch.float32, CPU))
    encoding.stage.reference = SecondModel(reference)
    use_packed_attention(model)
    shown = encoded(encoding, (JUDGED if stage == "kto" else PAIRS)[1:2])
    found = gradients(model, encoding.stage.loss(model, encoding.stage.collate(shown)).total)
    assert found.keys() == {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert not any(grad.any() for name, grad in found.items() if "visual" in name)


def test_a_reference_of_another_kind_is_refused(looked: Looked, seeing_model: Callable[..., Path]) -> None:
    recipe, encoding = looked("qwen2_vl", stage="dpo", ref_model=str(seeing_model("llava")))
    model = shaken(recipe)
    with pytest.raises(ModelError, match=r"MODEL-REFERENCE.*qwen2_vl.*llava"):
        encoding.stage.equip(model, Materials(recipe.model, recipe.quantization, recipe.finetuning, torch.float32, CPU))
