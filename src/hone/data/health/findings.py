"""What the numbers mean, in words: warnings and advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hone.data.health.sets import SetHealth
from hone.data.report import SHOWN, DataReport, SetReport
from hone.data.worth import PLURALS

FEW_ENDS = 0.99
"""Share of answers with a stop token below which it is said."""
MUCH_CUT = 0.01
LITTLE_LEARNED = 0.05
MOSTLY = 0.9


@dataclass(frozen=True)
class Finding:
    """One thing worth saying: what it is about (a code or a key), and what."""

    about: str
    what: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


def common(report: DataReport, *, ended: int, answers: int, asks: bool) -> Iterator[Finding]:
    """What the counts alone tell; cheap, so each training says it. `asks`: rows are questions, and what is learned are
    answers of the model's own."""
    for one in report.train:
        yield from _counted(one)
        if not asks and one.tokens and one.learned < LITTLE_LEARNED * one.tokens:
            yield Finding("DATA-LEARNED", f"{one.name}: only {one.learned / one.tokens:.1%} of the tokens are learned")
    if not asks and answers and ended < FEW_ENDS * answers:
        yield Finding(
            "DATA-STOP",
            f"{answers - ended:,} of {answers:,} answers do not end in a stop token, mostly because they are cut; "
            "a model that never learns to stop runs on",
        )


def _counted(one: SetReport) -> Iterator[Finding]:
    if one.cut > MUCH_CUT * max(one.kept, 1):
        yield Finding(
            "DATA-CUT",
            f"{one.name}: {one.cut / one.kept:.1%} of the rows are cut and {one.lost_learned:,} tokens of answers "
            "lost; raise cutoff_len, or set on_overflow: drop",
        )
    if one.rows and one.dropped_rows > MUCH_CUT * one.rows:
        yield Finding("DATA-DROPPED", f"{one.name}: {one.dropped_rows / one.rows:.1%} of the rows are dropped")
    if one.duplicates:
        yield Finding("DATA-TWICE", f"{one.name}: {one.duplicates:,} rows are exact duplicates of earlier ones")


def of_report(report: DataReport) -> Iterator[Finding]:
    """What a preparation warns of by itself, for those who read the report."""
    if report.leaked:
        yield Finding("DATA-LEAK", f"{report.leaked:,} examples to evaluate are trained on too")
    for one in report.train:
        if one.placeholders:
            yield Finding(
                "DATA-PLACEHOLDER", f"{one.name}: {one.placeholders:,} rows say {{{{name}}}} or {{{{author}}}}"
            )


def of_set(one: SetHealth, counted: SetReport) -> Iterator[Finding]:
    """What a walk over the rows tells of one set."""
    if one.near_duplicates:
        shown = ", ".join(f"{row} like {earlier}" for row, earlier in one.near_duplicates[:SHOWN])
        yield Finding(
            "DATA-ALIKE", f"{one.name}: near-duplicates of earlier rows: {len(one.near_duplicates):,} (row {shown})"
        )
    if one.like_train:
        yield Finding("DATA-LEAK", f"{one.name}: {_rows(one.like_train)} much like one that is trained on")
    if one.benchmark_rows:
        yield Finding("DATA-BENCHMARK", f"{one.name}: {_rows(one.benchmark_rows)} a question of the benchmark")
    if one.unseen:
        yield Finding("DATA-MEDIA", f"{one.name}: rows have {counted_media(one)}, {one.unseen}")
    if one.unusable_media:
        shown = "; ".join(f"row {row}: {what}" for row, what in one.unusable_media[:SHOWN])
        yield Finding("DATA-MEDIA", f"{one.name}: {len(one.unusable_media):,} cannot be used ({shown})")
    if one.disordered:
        yield Finding("DATA-ROLES", f"{one.name}: {_rows(one.disordered)} out of order in their roles")
    if one.equal_pairs:
        yield Finding("DATA-PAIRS", f"{one.name}: {_rows(one.equal_pairs)} without a difference between the answers")
    if one.records and one.liked + one.disliked == one.records and not (one.liked and one.disliked):
        kind = "liked" if one.liked else "disliked"
        yield Finding("DATA-KTO", f"{one.name}: every answer is {kind}; kto needs both kinds")
    if one.evaluated and counted.duplicates:
        yield Finding("DATA-TWICE", f"{one.name}: {counted.duplicates:,} rows are exact duplicates of earlier ones")


def thinking_advice(trained: Sequence[SetHealth], template: Any, enabled: bool | None) -> Iterator[Finding]:
    """Whether thinking fits the rows, for a family of models that thinks."""
    thinking = sum(one.thinking for one in trained)
    records = sum(one.records for one in trained)
    if not records:
        return
    share = thinking / records
    if getattr(template, "thinking", None) is None:
        if thinking:
            yield Finding(
                "enable_thinking", f"{share:.1%} of the rows think; template {template.name} has no way for it"
            )
        return
    best = True if share >= MOSTLY else False if not thinking else None
    reason = {True: "nearly all rows think", False: "no row thinks", None: "some rows think and some do not"}[best]
    word = {True: "true", False: "false", None: "null"}
    same = "as it is" if best is enabled else f"it is {word[enabled]} now"
    yield Finding("enable_thinking", f"{word[best]} fits: {reason} ({share:.1%}); {same}")


def _rows(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:SHOWN])) + (", …" if len(rows) > SHOWN else "")
    return f"{len(rows):,} {'row is' if len(rows) == 1 else 'rows are'} (row {shown})"


def counted_media(one: SetHealth) -> str:
    """How many pictures, videos and sounds a set has, in words."""
    return ", ".join(f"{count:,} {PLURALS[kind]}" for kind, count in sorted(one.media.items()))
