"""How many tokens of a question and its answer are kept under a limit."""

from __future__ import annotations

from corpus import Tally, cases, needs_corpus

from hone.data.keep import kept_lengths

FAMILY = "truncation"


@needs_corpus
def test_two_sides_share_the_limit_as_the_corpus_says(tally: Tally) -> None:
    faults = []
    for case in cases(FAMILY):
        kept = kept_lengths(case["source_len"], case["target_len"], case["cutoff_len"])
        if case["expect"].get("error"):  # a crash there; here any plain answer will do
            fault = None if sum(kept) <= case["cutoff_len"] else f"kept {kept}"
        else:
            wanted = (case["expect"]["kept_source"], case["expect"]["kept_target"])
            fault = None if kept == wanted else f"kept {kept}, not {wanted}"
        faults.append(tally.judge(FAMILY, case["id"], fault))
    assert not [fault for fault in faults if fault]
