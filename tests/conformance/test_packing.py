"""Which examples share a pack."""

from __future__ import annotations

from corpus import Tally, cases, needs_corpus

from hone.data.pack import fit

FAMILY = "packing"


@needs_corpus
def test_bins_are_filled_as_the_corpus_says(tally: Tally) -> None:
    faults = []
    for case in cases(FAMILY):
        lengths = case["lengths"]
        bins = [[lengths[number] for number in packed] for packed in fit(lengths, case["capacity"])]
        wanted = case["expect"]["bins"]
        faults.append(tally.judge(FAMILY, case["id"], None if bins == wanted else f"{bins}, not {wanted}"))
    assert not [fault for fault in faults if fault]
