"""Batches: the corpus pads rows to one length; Hone joins them end to end. Put into rows again, they must be equal."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from corpus import Tally, cases, needs_corpus

from hone.data.batch import collate
from hone.data.feedback import marked
from hone.dialogue.example import IGNORED, Example
from hone.recipe import FinetuningSection
from hone.stages import load_stage

FAMILY = "collators"


def segments_of(feature: dict[str, Any]) -> Example:
    """A feature of the corpus as an example: padding (mask 0) is left out, numbered stretches are segments."""
    mask = np.array(feature["attention_mask"])
    kept = mask > 0
    numbers, lengths = np.unique(mask[kept], return_counts=True)
    assert len(numbers) == len(lengths)
    return Example(
        np.array(feature["input_ids"], dtype=np.int32)[kept],
        np.array(feature["labels"], dtype=np.int32)[kept],
        tuple(lengths.tolist()) if mask.max(initial=1) > 1 else (int(kept.sum()),),
    )


def flat(expect: dict[str, Any], features: list[dict[str, Any]], key: str) -> list[int]:
    """The corpus's batch, row after row, less its padding."""
    tokens: list[int] = []
    for number, feature in enumerate(features):
        count = int((np.array(feature["attention_mask"]) > 0).sum())
        mask = expect["attention_mask"]
        kept = np.array(mask[number]) > 0 if isinstance(mask, list) else np.arange(len(expect[key][number])) < count
        tokens += np.array(expect[key][number])[kept].tolist()
    return tokens


def fault_of(case: dict[str, Any]) -> str | None:
    features, expect, multiple = case["features"], case["expect"], case["options"]["pad_to_multiple_of"] or 1
    examples = [segments_of(feature) for feature in features]
    batch = {key: tensor.flatten().tolist() for key, tensor in collate(examples, pad_to_multiple_of=multiple).items()}
    count = sum(len(example.input_ids) for example in examples)
    wanted = {key: flat(expect, features, key) for key in ("input_ids", "labels")}
    for start in batch["cu_seqlens"]:
        # The corpus keeps labels at the first token of a segment, where no model is asked for one.
        wanted["labels"][start : start + 1] = [IGNORED][: count - start]
    if len(batch["input_ids"]) % multiple:
        return "the row is not rounded up"
    if {key: batch[key][:count] for key in wanted} != wanted:
        return f"{batch}, not {wanted}"
    if any(label != IGNORED for label in batch["labels"][count:]):
        return "the filler is learned"
    return None if attends(batch["cu_seqlens"])[:count] == allowed(examples) else "segments see each other"


def pairs_fault(case: dict[str, Any]) -> str | None:
    """The corpus puts all better answers before all worse ones; Hone keeps a pair together."""
    features, expect = case["features"], case["expect"]
    pairs = [joined(half(one, "chosen_"), half(one, "rejected_")) for one in features]
    batch = load_stage(FinetuningSection(stage="dpo")).collate(pairs)
    count = len(features)
    order = [row for pair in range(count) for row in (pair, count + pair)]
    return rows_fault(batch, "", [row_of(expect, "", row) for row in order])


def judged_fault(case: dict[str, Any]) -> str | None:
    features, expect = case["features"], case["expect"]
    judged = [marked(joined(half(one, ""), half(one, "kl_")), good=one["kto_tags"]) for one in features]
    batch = load_stage(FinetuningSection(stage="kto")).collate(judged)
    if batch["good"].tolist() != expect["kto_tags"]:
        return f"{batch['good']}, not {expect['kto_tags']}"
    faults = [
        rows_fault(batch, prefix, [row_of(expect, prefix, row) for row in range(len(features))])
        for prefix in ("", "kl_")
    ]
    return next((fault for fault in faults if fault), None)


def half(feature: dict[str, Any], prefix: str) -> Example:
    ids, labels = (np.array(feature[f"{prefix}{name}"], dtype=np.int32) for name in ("input_ids", "labels"))
    return Example(ids, labels)


def joined(first: Example, second: Example) -> Example:
    return Example(
        np.concatenate([first.input_ids, second.input_ids]),
        np.concatenate([first.labels, second.labels]),
        (len(first.input_ids), len(second.input_ids)),
    )


def row_of(expect: dict[str, Any], prefix: str, row: int) -> tuple[list[int], list[int]]:
    """Ids and labels of one row of the corpus's batch, less its padding."""
    kept = np.array(expect[f"{prefix}attention_mask"][row]) > 0
    ids, labels = (np.array(expect[f"{prefix}{name}"][row])[kept].tolist() for name in ("input_ids", "labels"))
    return ids, labels


def rows_fault(batch: dict[str, Any], prefix: str, wanted: list[tuple[list[int], list[int]]]) -> str | None:
    found = []
    for start, end in pairwise(batch[f"{prefix}cu_seqlens"].tolist()):
        ids, labels = (batch[f"{prefix}{name}"][0, start:end].tolist() for name in ("input_ids", "labels"))
        found.append((ids, labels))
    return None if found == wanted else f"{found}, not {wanted}"


FAULTS = {"sft": fault_of, "pairwise": pairs_fault, "kto": judged_fault}


def attends(ends: list[int]) -> list[tuple[int, int]]:
    """For each token: where its segment begins, and its place in it."""
    return [(start, place) for start, end in pairwise(ends) for place in range(end - start)]


def allowed(examples: list[Example]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for length in (length for example in examples for length in example.lengths):
        spans += [(start, place) for place in range(length)]
        start += length
    return spans


@needs_corpus
def test_batches_hold_what_the_corpus_holds_without_the_padding(tally: Tally) -> None:
    faults = []
    for case in cases(FAMILY):
        if case["collator"] not in FAULTS:
            tally.record(FAMILY, case["id"], "not built")
            continue
        faults.append(tally.judge(FAMILY, case["id"], FAULTS[case["collator"]](case)))
    assert not [fault for fault in faults if fault]
