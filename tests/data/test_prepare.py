"""The straight line from files to example sets: what is kept, cut, dropped, skipped, refused, cached and said."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from letters import END, FIRST_LETTER, LetterEncoder, MakeSets, Pairs, Pt, Sft, alpaca

from hone.data.encode import encode_prompt
from hone.data.prepare import Prepared, prepare
from hone.data.stage import Encoded, Limits
from hone.dialogue.example import IGNORED
from hone.errors import DataError, HoneError, RecipeError
from hone.recipe import DataSection

TWENTY = [alpaca(f"question {number}", f"answer {number}") for number in range(20)]


def ready(folder: Path, *names: str, stage: Any = None, encoder: Any = None, **options: Any) -> Prepared:
    given = {key: options.pop(key) for key in ("run_dir", "eval_stage", "train", "evaluate") if key in options}
    data = DataSection(dataset=names, dataset_dir=str(folder), **options)
    return prepare(data, stage or Sft(), encoder or LetterEncoder(), seed=7, cache_dir=folder.parent / "cache", **given)


def texts(prepared: Prepared) -> list[str]:
    assert prepared.train is not None
    return [spelt(example.input_ids) for example in prepared.train]


def spelt(ids: Any) -> str:
    return "".join("|" if token == END else chr(int(token) - FIRST_LETTER) for token in ids)


def lines(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(row) for row in rows]


def test_rows_become_examples_whose_answers_are_learned(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=[alpaca("ab", "c")]), "a")
    assert prepared.train is not None
    assert prepared.train[0].labels.tolist() == [IGNORED, IGNORED, FIRST_LETTER + ord("c"), END]
    assert prepared.report.train[0].learned == 2


def test_a_broken_row_ends_the_run_with_its_place(make_sets: MakeSets) -> None:
    written = lines(TWENTY)
    written[10] = written[10].replace(", ", " ", 1)
    folder = make_sets(a="\n".join(written))
    with pytest.raises(DataError, match=r"DATA-JSON.*a\.jsonl:11:31.*on_bad_row") as error:
        ready(folder, "a")
    assert error.value.exit_code == 3


def test_a_broken_row_is_skipped_counted_and_kept_if_so_wished(
    make_sets: MakeSets, tmp_path: Path, capsys: Any
) -> None:
    written = lines(TWENTY)
    written[10] = written[10].replace(", ", " ", 1)
    clean = lines(TWENTY[:10] + TWENTY[11:])
    folder = make_sets(a="\n".join(written), b="\n".join(clean))
    prepared = ready(folder, "a", on_bad_row="skip", run_dir=tmp_path / "run")
    assert texts(prepared) == texts(ready(folder, "b"))
    assert prepared.report.train[0].bad == 1
    kept = [json.loads(line) for line in (tmp_path / "run" / "bad_rows.jsonl").read_text("utf-8").splitlines()]
    assert [(row["line"], row["text"]) for row in kept] == [(11, written[10])]
    assert "skipped 1 broken rows" in capsys.readouterr().err


def test_skipped_rows_are_refused_again_once_they_may_not_be(make_sets: MakeSets) -> None:
    folder = make_sets(a=[*TWENTY, 5])
    ready(folder, "a", on_bad_row="skip")
    with pytest.raises(DataError, match="not an object"):
        ready(folder, "a")


def test_a_number_where_text_belongs_is_a_fault_of_that_row(make_sets: MakeSets) -> None:
    rows = [alpaca(f"{number}") for number in range(64)]
    rows[40]["output"] = 41
    with pytest.raises(DataError, match=r"`output` is a number.*\(row 41\)"):
        ready(make_sets(a=rows), "a")


def test_all_broken_rows_are_named_at_once_up_to_a_bound(make_sets: MakeSets) -> None:
    with pytest.raises(DataError) as error:
        ready(make_sets(a=[{"x": number} for number in range(500)]), "a")
    assert len(error.value.faults) == 21
    assert "480 more" in str(error.value)


def test_content_of_rows_is_not_in_errors(make_sets: MakeSets) -> None:
    with pytest.raises(DataError) as error:
        ready(make_sets(a=[{"instruction": "my password is xyzzy", "output": 5}]), "a")
    assert "xyzzy" not in str(error.value)


@pytest.mark.parametrize("answer", ["", " \n", None, "absent"])
def test_rows_without_an_answer_are_dropped_and_counted(make_sets: MakeSets, answer: Any, capsys: Any) -> None:
    empty = {"instruction": "secret"} if answer == "absent" else alpaca("secret", answer)
    prepared = ready(make_sets(a=[*TWENTY, empty]), "a")
    assert len(texts(prepared)) == 20
    assert prepared.report.train[0].dropped_rows == 1
    said = capsys.readouterr().err
    assert "dropped 1" in said
    assert "row 21" in said
    assert "secret" not in said


def test_a_set_in_which_nothing_is_left_is_refused(make_sets: MakeSets) -> None:
    with pytest.raises(DataError, match=r"none of 2 rows.*2 × empty answer"):
        ready(make_sets(a=[alpaca("q", ""), alpaca("r", " ")]), "a")


@pytest.mark.parametrize("content", ["", "\n", "[]", "{}"])
def test_a_set_without_rows_is_refused(make_sets: MakeSets, content: str) -> None:
    folder = make_sets(a=content)
    (folder / "a.jsonl").rename(folder / "a.json")
    (folder / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}', "utf-8")
    with pytest.raises(DataError, match="0 rows"):
        ready(folder, "a")


def test_a_question_that_fills_the_limit_leaves_nothing_to_learn(make_sets: MakeSets) -> None:
    long = alpaca("q" * 1000, "a")
    prepared = ready(make_sets(a=[long, alpaca("q", "a")]), "a", cutoff_len=16)
    kept = prepared.report.train[0]
    assert prepared.train is not None
    assert all(example.learned > 0 for example in prepared.train)
    assert kept.kept + kept.dropped_rows == 2


def test_what_is_cut_is_counted_with_the_answer_tokens_lost(make_sets: MakeSets, capsys: Any) -> None:
    prepared = ready(make_sets(a=[alpaca("q" * 10, "a" * 50), *TWENTY]), "a", cutoff_len=40)
    counted = prepared.report.train[0]
    assert counted.cut == 1
    assert counted.lost == 61 - 40
    assert counted.lost_learned == 51 - 30
    assert "cut 1 at cutoff_len" in capsys.readouterr().err


def test_a_huge_row_is_cut_quickly(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=[alpaca("q", "a" * 2_000_000)]), "a", cutoff_len=64)
    assert prepared.train is not None
    assert prepared.train.lengths.tolist() == [64]
    assert prepared.report.train[0].lost_learned == pytest.approx(2_000_001 - 63, rel=0.001)


@pytest.mark.parametrize("lead", ["", "\ufeff"])
def test_a_mark_changes_no_token(make_sets: MakeSets, lead: str) -> None:
    folder = make_sets(a="\n".join(lines(TWENTY)), b=lead + "\r\n\r\n".join(lines(TWENTY)))
    assert texts(ready(folder, "a")) == texts(ready(folder, "b"))


def test_several_sets_stand_one_after_the_other_each_with_its_first_rows(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=TWENTY, b=[alpaca("x", "y")]), "a", "b", max_samples=2)
    assert texts(prepared) == ["question 0answer 0|", "question 1answer 1|", "xy|"]


def test_more_samples_than_rows_are_all_rows(make_sets: MakeSets) -> None:
    assert len(texts(ready(make_sets(a=TWENTY), "a", max_samples=500))) == 20


def test_sets_can_be_interleaved(make_sets: MakeSets) -> None:
    folder = make_sets(a=[alpaca("a", "1"), alpaca("a", "2")], b=[alpaca("b", "1"), alpaca("b", "2")])
    assert texts(ready(folder, "a", "b", mix_strategy="interleave_under")) == ["a1|", "b1|", "a2|", "b2|"]


def test_num_samples_of_the_book_draws_rows(make_sets: MakeSets) -> None:
    folder = make_sets(a=(TWENTY, {"num_samples": 50}), b=(TWENTY, {"num_samples": 5}))
    assert len(texts(ready(folder, "a"))) == 50
    drawn = texts(ready(folder, "b"))
    assert len(set(drawn)) == 5
    assert texts(ready(folder, "b")) == drawn


@pytest.mark.parametrize(("val_size", "held"), [(0.1, 2), (5, 5)])
def test_a_part_is_kept_for_evaluation(make_sets: MakeSets, val_size: float, held: int) -> None:
    prepared = ready(make_sets(a=TWENTY), "a", val_size=val_size)
    assert [len(one) for one in prepared.evals.values()] == [held]
    kept = {spelt(example.input_ids) for example in prepared.evals[""]}
    assert not kept & set(texts(prepared))
    assert len(kept) + len(texts(prepared)) == 20


def test_a_val_size_that_takes_everything_is_a_fault_of_the_recipe(make_sets: MakeSets) -> None:
    with pytest.raises(RecipeError):
        ready(make_sets(a=TWENTY), "a", val_size=20)


def test_evaluation_sets_are_one_or_each_for_itself(make_sets: MakeSets) -> None:
    folder = make_sets(a=TWENTY, b=TWENTY[:3], c=[alpaca("x")])
    together = ready(folder, "a", eval_dataset=("b", "c"))
    assert {name: len(one) for name, one in together.evals.items()} == {"": 4}
    apart = ready(folder, "a", eval_dataset=("b", "c"), eval_on_each_dataset=True)
    assert {name: len(one) for name, one in apart.evals.items()} == {"b": 3, "c": 1}


def test_rows_that_are_trained_and_evaluated_on_are_warned_about(make_sets: MakeSets, capsys: Any) -> None:
    prepared = ready(make_sets(a=TWENTY, b=[*TWENTY[:3], alpaca("new")]), "a", eval_dataset=("b",))
    assert prepared.report.leaked == 3
    assert "DATA-LEAK" in capsys.readouterr().err


def test_duplicates_are_kept_and_counted(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=[*TWENTY, TWENTY[3], TWENTY[4]]), "a")
    assert len(texts(prepared)) == 22
    assert prepared.report.train[0].duplicates == 2


def test_names_left_to_fill_in_are_warned_about(make_sets: MakeSets, capsys: Any) -> None:
    ready(make_sets(a=[alpaca("who?", "I am {{name}} by {{author}}"), alpaca("x")]), "a")
    assert "DATA-PLACEHOLDER: 1 rows of a" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["packing", "neat_packing"])
def test_packs_hold_whole_examples_within_the_limit(make_sets: MakeSets, how: str) -> None:
    folder = make_sets(a=TWENTY)
    prepared = ready(folder, "a", cutoff_len=64, **{how: True})
    assert prepared.train is not None
    assert max(prepared.train.lengths) <= 63
    found = []
    for pack in prepared.train:
        ends = [sum(pack.lengths[: number + 1]) for number in range(len(pack.lengths))]
        found += [spelt(pack.input_ids[end - size : end]) for end, size in zip(ends, pack.lengths, strict=True)]
    assert sorted(found) == sorted(texts(ready(folder, "a")))


def test_an_example_longer_than_a_pack_is_cut_and_not_lost(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=[alpaca("q", "a" * 100), *TWENTY]), "a", cutoff_len=32, packing=True)
    assert prepared.train is not None
    assert sum(len(pack.lengths) for pack in prepared.train) == 21
    assert prepared.report.train[0].cut == 1


TEXTS = ([{"text": "abcdef"}, {"text": " "}, {"text": "gh"}], {"columns": {"prompt": "text"}})


def test_plain_texts_run_on_through_blocks(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=TEXTS), "a", stage=Pt(), packing=True, cutoff_len=4)
    assert texts(prepared) == ["abcd", "ef|g", "h|"]
    assert prepared.report.train[0].dropped_rows == 1


def test_plain_texts_stay_apart_without_packing(make_sets: MakeSets) -> None:
    assert texts(ready(make_sets(a=TEXTS), "a", stage=Pt(), packing=False, cutoff_len=4)) == ["abcd", "gh|"]


def test_a_conversation_is_no_plain_text(make_sets: MakeSets) -> None:
    with pytest.raises(DataError, match="plain text is needed"):
        ready(make_sets(a=TWENTY), "a", stage=Pt())


def test_pairs_are_two_segments_of_one_example(make_sets: MakeSets) -> None:
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    rows = [{"instruction": "q", "chosen": "good", "rejected": "bad"}]
    prepared = ready(make_sets(a=(rows, {"ranking": True, "columns": columns})), "a", stage=Pairs())
    assert prepared.train is not None
    assert texts(prepared) == ["qgood|qbad|"]
    assert prepared.train[0].lengths == (6, 5)


def test_a_set_of_the_wrong_kind_is_refused_by_name(make_sets: MakeSets) -> None:
    folder = make_sets(a=(TWENTY, {"ranking": True}), b=(TWENTY, {"formatting": "alpaca"}))
    with pytest.raises(DataError, match=r"stage sft cannot use a ranked set.*: a"):
        ready(folder, "a")
    with pytest.raises(DataError, match=r"stage dpo cannot use not a ranked|stage dpo.*: b"):
        ready(folder, "b", stage=Pairs())


class Generation:
    name = "generate"
    record = Sft().record
    joining = "fit"

    def encode(self, records: Any, encoder: Any, limits: Limits) -> list[Encoded]:
        return encode_prompt(records, encoder, limits)


def test_rows_to_be_answered_are_prompt_and_answer_and_none_is_dropped(make_sets: MakeSets) -> None:
    folder = make_sets(a=TWENTY, b=[alpaca("q", "a"), alpaca("r", None)])
    prepared = ready(folder, "a", eval_dataset=("b",), eval_stage=Generation())
    asked = [(spelt(one.input_ids), one.lengths) for one in prepared.evals[""]]
    assert asked == [("qa|", (1, 2)), ("r|", (1, 1))]


def test_the_part_kept_for_evaluation_can_be_answered_too(make_sets: MakeSets) -> None:
    folder = make_sets(a=[alpaca("empty", ""), *TWENTY], b=TWENTY)
    plain = ready(folder, "a", "b", val_size=8)
    asked = ready(folder, "a", "b", val_size=8, eval_stage=Generation())
    assert [spelt(one.input_ids) for one in asked.evals[""]] == [spelt(one.input_ids) for one in plain.evals[""]]
    assert {len(one.lengths) for one in asked.evals[""]} == {2}


def test_a_second_time_is_a_hit_with_the_same_examples_and_counts(make_sets: MakeSets, capsys: Any) -> None:
    folder = make_sets(a=[*TWENTY, alpaca("q", "")])
    first = ready(folder, "a")
    assert "cache miss: a (not prepared before)" in capsys.readouterr().err
    second = ready(folder, "a")
    assert "cache hit: a" in capsys.readouterr().err
    assert texts(second) == texts(first)
    assert second.report == first.report
    assert second.train is not None
    assert first.train is not None
    assert second.train.fingerprint == first.train.fingerprint


def test_a_miss_says_what_changed(make_sets: MakeSets, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sets(a=TWENTY)
    ready(folder, "a")
    capsys.readouterr()
    file = folder / "a.jsonl"
    stamp = file.stat()
    changes: dict[str, Any] = {
        "cutoff_len": lambda: ready(folder, "a", cutoff_len=99),
        "template or tokenizer": lambda: ready(folder, "a", cutoff_len=99, encoder=LetterEncoder("other")),
        "mask_history": lambda: ready(folder, "a", cutoff_len=99, encoder=LetterEncoder("other"), mask_history=True),
    }
    for name, again in changes.items():
        again()
        assert f"(changed: {name})" in capsys.readouterr().err
    file.write_bytes(file.read_bytes().replace(b"answer 7", b"answer 8"))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    changed = ready(folder, "a", cutoff_len=99, encoder=LetterEncoder("other"), mask_history=True)
    assert "(changed: data)" in capsys.readouterr().err
    assert "question 7answer 8|" in texts(changed)
    monkeypatch.setattr("hone.__version__", "999")
    ready(folder, "a", cutoff_len=99, encoder=LetterEncoder("other"), mask_history=True)
    assert "(changed: version)" in capsys.readouterr().err


@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "no meta"])
def test_a_damaged_entry_is_made_anew_and_said_so(make_sets: MakeSets, harm: str, capsys: Any) -> None:
    folder = make_sets(a=TWENTY)
    before = texts(ready(folder, "a"))
    (file,) = (folder.parent / "cache").glob("*/input_ids.bin")
    content = bytearray(file.read_bytes())
    if harm == "truncated":
        file.write_bytes(content[:-4])
    elif harm == "flipped":
        content[9] ^= 1
        file.write_bytes(content)
    elif harm == "missing":
        file.unlink()
    else:
        (file.parent / "meta.json").write_text("{", "utf-8")
    capsys.readouterr()
    assert texts(ready(folder, "a")) == before
    assert "damaged" in capsys.readouterr().err


def test_an_entry_of_another_user_is_not_trusted(
    make_sets: MakeSets, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sets(a=TWENTY)
    before = texts(ready(folder, "a"))
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    capsys.readouterr()
    assert texts(ready(folder, "a")) == before
    assert "damaged (another user's), made anew" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rows.zip", "rows.tar", "rows.tar.gz", "rows.pkl"])
def test_archives_and_pickles_are_no_data_files(make_sets: MakeSets, name: str) -> None:
    folder = make_sets(a=TWENTY)
    (folder / name).write_bytes(b"PK\x03\x04")
    (folder / "dataset_info.json").write_text(json.dumps({"a": {"file_name": name}}), "utf-8")
    with pytest.raises(DataError, match=r"DATA-FILE\] cannot read `\.(zip|tar|tar\.gz|pkl)` files"):
        ready(folder, "a")


def test_a_pair_without_its_worse_answer_is_a_broken_row(make_sets: MakeSets) -> None:
    pair = {"instruction": "q", "chosen": "good", "rejected": "bad"}
    lacking = [pair, {"instruction": "q", "chosen": "good"}, {**pair, "rejected": None}, pair]
    entry = {"ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}}
    folder = make_sets(a=(lacking, entry), b=([pair, pair], entry))
    with pytest.raises(DataError, match="DATA-STAGE") as error:
        ready(folder, "a", stage=Pairs())
    assert [fault.where.partition(".jsonl")[2] for fault in error.value.faults] == [":2 (row 2)", ":3 (row 3)"]
    skipped = ready(folder, "a", stage=Pairs(), on_bad_row="skip")
    assert texts(skipped) == texts(ready(folder, "b", stage=Pairs()))


def test_more_processes_than_rows_are_no_trouble(make_sets: MakeSets, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sets(a=TWENTY[:3])
    alone = texts(ready(folder, "a"))
    monkeypatch.setattr("hone.data.load.BATCH", 1)
    monkeypatch.setattr("hone.data.load.WORTH_A_FORK", 1)
    monkeypatch.setattr("hone.data.load.WORTH_A_WORKER", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    assert texts(ready(folder, "a", preprocessing_num_workers=5, overwrite_cache=True)) == alone


def test_overwrite_cache_prepares_again(make_sets: MakeSets, capsys: Any) -> None:
    folder = make_sets(a=TWENTY)
    ready(folder, "a")
    capsys.readouterr()
    ready(folder, "a", overwrite_cache=True)
    assert "cache miss: a (overwrite_cache)" in capsys.readouterr().err


def test_a_refused_set_leaves_nothing_half_written(make_sets: MakeSets) -> None:
    folder = make_sets(a=[*TWENTY, 5])
    with pytest.raises(HoneError):
        ready(folder, "a")
    assert list((folder.parent / "cache").iterdir()) == []


def test_chinese_and_emoji_names_and_texts_pass(make_sets: MakeSets, tmp_path: Path) -> None:
    folder = make_sets(数据=[alpaca("你好 😀", "好")])
    moved = tmp_path / "数据😀"
    shutil.move(folder, moved)
    assert texts(ready(moved, "数据")) == ["你好 😀好|"]


def test_workers_make_the_same_examples(make_sets: MakeSets, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [alpaca(f"q {number}", f"a {number}") for number in range(90)]
    folder = make_sets(a=rows)
    alone = texts(ready(folder, "a"))
    monkeypatch.setattr("hone.data.load.BATCH", 10)
    monkeypatch.setattr("hone.data.load.WORTH_A_WORKER", 20)
    assert texts(ready(folder, "a", overwrite_cache=True, preprocessing_num_workers=2)) == alone


@pytest.mark.parametrize("name", ["gone.json", "loop.json", "a" * 300 + ".json"])
def test_a_file_that_cannot_be_opened_is_named(make_sets: MakeSets, name: str) -> None:
    folder = make_sets(a=TWENTY)
    if name == "loop.json":
        (folder / name).symlink_to(folder / name)
    (folder / "dataset_info.json").write_text(json.dumps({"a": {"file_name": name}}), "utf-8")
    with pytest.raises(DataError, match=name[:9]):
        ready(folder, "a")
