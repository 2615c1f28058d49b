"""The check of a recipe's data: every kind of trouble is counted, named by its row, and said in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from letters import LetterEncoder, MakeSets, Pairs, Sft, alpaca
from PIL import Image

from hone.data.encode import encode_sft
from hone.data.health.check import Health, check
from hone.data.stage import Encoded, Limits
from hone.dialogue.records import Chat, Feedback
from hone.dialogue.template import GENERIC
from hone.errors import DataError
from hone.recipe import DataSection

LONG = "the quick brown fox jumps over the lazy dog while many geese watch from the other side of the river "


class Reader(LetterEncoder):
    """Letters, with a template that thinks."""

    template = SimpleNamespace(name="letters", words=GENERIC, thinking=SimpleNamespace(enable=True))


@dataclass(frozen=True)
class Kto:
    """Feedback as plain conversations: what the check needs of it."""

    name: str = "kto"
    record: type = Feedback
    joining: Literal["fit", "stream"] = "fit"

    def encode(self, records: Any, encoder: Any, limits: Limits) -> list[Encoded]:
        return encode_sft([Chat(record.conversation) for record in records], encoder, limits)


def looked(folder: Path, *names: str, stage: Any = None, **options: Any) -> Health:
    data = DataSection(dataset=names, dataset_dir=str(folder), **options)
    return check(data, stage or Sft(), Reader(), seed=7, cache_dir=folder.parent / "cache")


def about(health: Health) -> list[str]:
    return [finding.about for finding in health.warnings]


def test_healthy_rows_are_fine(make_sets: MakeSets) -> None:
    rows = [alpaca(f"{'abcdefghij'[n]}" * 30, f"answer {n}") for n in range(10)]
    health = looked(make_sets(a=rows), "a")
    assert health.faults == ()
    assert about(health) == []
    assert health.ended == health.answers == 10
    assert "nothing stops a training" in str(health)


def test_cut_answers_lose_their_stop_token_and_that_is_said(make_sets: MakeSets) -> None:
    health = looked(make_sets(a=[alpaca("q", "a" * 100), alpaca("r", "b")]), "a", cutoff_len=40)
    assert {"DATA-CUT", "DATA-STOP"} <= set(about(health))
    assert (health.ended, health.answers) == (1, 2)
    assert health.sets[0].lengths.longest == 102
    assert health.advice[0].what.startswith("128 cuts less than 1 %")


def test_duplicates_and_near_duplicates_are_told_apart(make_sets: MakeSets) -> None:
    rows = [alpaca(LONG, "yes"), alpaca("other " * 20, "no"), alpaca(LONG, "yes"), alpaca(LONG + "?", "yes")]
    health = looked(make_sets(a=rows), "a")
    assert health.report.train[0].duplicates == 1
    assert [row for row, _ in health.sets[0].near_duplicates] == [4]
    assert {"DATA-TWICE", "DATA-ALIKE"} <= set(about(health))


def test_evaluation_rows_like_trained_ones_are_a_leak(make_sets: MakeSets) -> None:
    folder = make_sets(a=[alpaca(LONG, "yes"), alpaca("x" * 40)], b=[alpaca("fresh " * 9, "no"), alpaca(LONG, "yes.")])
    health = looked(folder, "a", eval_dataset=("b",))
    assert health.sets[1].like_train == (2,)
    assert "DATA-LEAK" in about(health)


def test_rows_evaluated_and_trained_on_are_a_leak_to_the_row(make_sets: MakeSets) -> None:
    folder = make_sets(a=[alpaca("x"), alpaca("y")], b=[alpaca("z"), alpaca("y")])
    told = [str(finding) for finding in looked(folder, "a", eval_dataset=("b",)).warnings]
    assert told == ["DATA-LEAK: 1 examples to evaluate are trained on too"]


def test_roles_out_of_order_are_named_by_row_and_stop_a_training(make_sets: MakeSets) -> None:
    good = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    wrong = {"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]}
    folder = make_sets(a=([good, wrong, good], {"formatting": "sharegpt"}))
    health = looked(folder, "a")
    assert health.sets[0].disordered == (2,)
    assert health.faults[0].where.endswith("a.jsonl:2 (row 2)")
    assert looked(folder, "a", on_bad_row="skip").faults == ()


def test_pairs_without_a_difference_are_named(make_sets: MakeSets) -> None:
    rows = [{"instruction": "q", "chosen": f"good {n}", "rejected": f"good {n}" if n == 1 else "bad"} for n in range(4)]
    entry = {"ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}}
    health = looked(make_sets(a=(rows, entry)), "a", stage=Pairs())
    assert health.sets[0].equal_pairs == (2,)
    assert "DATA-PAIRS" in about(health)


@pytest.mark.parametrize(("tags", "said"), [([True] * 3, True), ([True, False, True], False)])
def test_feedback_of_one_kind_only_is_said(make_sets: MakeSets, tags: list[bool], said: bool) -> None:
    rows = [{**alpaca(f"q{n}", "a"), "label": tag} for n, tag in enumerate(tags)]
    columns = {"prompt": "instruction", "query": "input", "response": "output", "kto_tag": "label"}
    health = looked(make_sets(a=(rows, {"columns": columns})), "a", stage=Kto())
    assert ("DATA-KTO" in about(health)) is said


def test_rows_that_overflow_are_faults_where_they_may_not(make_sets: MakeSets) -> None:
    folder = make_sets(a=[alpaca("q", "a" * 100), alpaca("r", "b")])
    assert [fault.code for fault in looked(folder, "a", cutoff_len=40, on_overflow="error").faults] == ["DATA-LONG"]
    assert looked(folder, "a", cutoff_len=40, on_overflow="drop").faults == ()


@pytest.mark.parametrize(
    ("thoughts", "advice"), [(0, "false fits: no row"), (2, "null fits: some"), (4, "true fits: nearly all")]
)
def test_thinking_is_advised_by_what_rows_do(make_sets: MakeSets, thoughts: int, advice: str) -> None:
    rows = [alpaca(f"q{n}", ("<think>\nhm\n</think>\n\n" if n < thoughts else "") + "a") for n in range(4)]
    found = [each for each in looked(make_sets(a=rows), "a").advice if each.about == "enable_thinking"]
    assert found[0].what.startswith(advice)


def test_what_cannot_be_read_at_all_is_raised(make_sets: MakeSets) -> None:
    with pytest.raises(DataError, match="no data set"):
        looked(make_sets(a=[alpaca("q")]), "b")


def test_the_health_is_plain_json(make_sets: MakeSets) -> None:
    plain = json.loads(json.dumps(looked(make_sets(a=[alpaca("q" * 30), {"x": 1}]), "a").as_dict()))
    assert plain["fine"] is False
    assert plain["sets"][0]["broken"] == 1
    assert sum(plain["sets"][0]["lengths"]["counts"]) == 1


def test_media_are_counted_and_those_that_cannot_be_used_are_named_by_row(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "here.png")
    (tmp_path / "broken.png").write_text("no picture")
    names = ["here.png", "gone.png", "broken.png", "../../etc/passwd"]
    rows = [alpaca("plain", "yes")]
    rows += [{"instruction": f"<image>{n}", "output": "a", "images": [name]} for n, name in enumerate(names)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    health = looked(tmp_path, str(tmp_path / "rows.jsonl"))
    one = health.sets[0]
    assert one.media == {"image": 4}
    assert [row for row, _ in one.unusable_media] == [3, 4, 5]
    assert "gone.png" in one.unusable_media[0][1] and "media_dir" in one.unusable_media[2][1]
    assert [fault.code for fault in health.faults] == ["DATA-MEDIA"] * 4
    assert "4 pictures" in str(health) and "row 3: no such file: gone.png" in str(health)
