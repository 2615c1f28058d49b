"""A batch is one flattened row whose segments do not see or predict each other."""

from __future__ import annotations

import numpy as np
import pytest

from hone.data.batch import FILLER, collate
from hone.dialogue.example import IGNORED, Example


def example(*segments: tuple[list[int], list[int]]) -> Example:
    ids = [token for tokens, _ in segments for token in tokens]
    labels = [label for _, wanted in segments for label in wanted]
    lengths = tuple(len(tokens) for tokens, _ in segments)
    return Example(np.array(ids, dtype=np.int32), np.array(labels, dtype=np.int32), lengths)


ONE = example(([10, 11, 12], [IGNORED, 11, 12]))
ALL_LEARNED = example(([20, 21], [20, 21]))
PACKED = example(([30, 31], [IGNORED, 31]), ([40], [40]), ([50, 51, 52], [50, 51, 52]))


def test_examples_stand_end_to_end_without_padding() -> None:
    batch = collate([ONE, ALL_LEARNED])
    assert batch["input_ids"].tolist() == [[10, 11, 12, 20, 21]]
    assert batch["cu_seqlens"].tolist() == [0, 3, 5]


def test_the_first_token_of_a_segment_is_never_predicted() -> None:
    batch = collate([ALL_LEARNED, PACKED])
    assert batch["labels"].tolist() == [[IGNORED, 21, IGNORED, 31, IGNORED, IGNORED, 51, 52]]


def test_positions_restart_in_every_segment() -> None:
    assert collate([ONE, PACKED])["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 0, 1, 2]]


def test_dtypes_are_those_that_models_and_varlen_kernels_take() -> None:
    kinds = {name: str(tensor.dtype) for name, tensor in collate([ONE]).items()}
    assert kinds == {
        "input_ids": "torch.int64",
        "labels": "torch.int64",
        "position_ids": "torch.int64",
        "cu_seqlens": "torch.int32",
    }


def test_rounding_up_adds_one_segment_of_filler_that_is_not_learned() -> None:
    batch = collate([ONE], pad_to_multiple_of=4)
    assert batch["input_ids"].tolist() == [[10, 11, 12, FILLER]]
    assert batch["labels"].tolist() == [[IGNORED, 11, 12, IGNORED]]
    assert batch["cu_seqlens"].tolist() == [0, 3, 4]


def test_nothing_is_added_when_the_row_is_already_round() -> None:
    assert collate([ONE, ALL_LEARNED], pad_to_multiple_of=5)["cu_seqlens"].tolist() == [0, 3, 5]


@pytest.mark.parametrize("batch", [[ONE], [ONE, PACKED], [PACKED, ALL_LEARNED, ONE]])
def test_the_number_of_labels_is_what_the_examples_say_they_teach(batch: list[Example]) -> None:
    labels = collate(batch)["labels"]
    assert int((labels != IGNORED).sum()) == sum(item.learned for item in batch)


def test_collating_does_not_change_the_examples() -> None:
    collate([ALL_LEARNED])
    assert ALL_LEARNED.labels.tolist() == [20, 21]
