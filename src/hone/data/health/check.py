"""`hone data check`: all that is known of the data of a recipe, with warnings and advice in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hone.data.book import look_up
from hone.data.health.benchmarks import Benchmarks
from hone.data.health.findings import Finding, common, counted_media, of_report, of_set, thinking_advice
from hone.data.health.sets import SetHealth, sets_of
from hone.data.health.stops import stop_share
from hone.data.health.survey import Survey, survey
from hone.data.health.twins import Twins
from hone.data.load import BROKEN, TOO_LONG
from hone.data.places import brought
from hone.data.prepare import Prepared, gatherer_of, limits_of, prepare
from hone.data.report import DataReport
from hone.data.stage import StageEncoding
from hone.errors import Fault
from hone.evals.choice import Question

if TYPE_CHECKING:
    from hone.recipe import DataSection


@dataclass(frozen=True)
class Health:
    """The whole: counts, sets, warnings, advice, and the faults that would end a training."""

    template: str
    cutoff_len: int
    report: DataReport
    sets: tuple[SetHealth, ...]
    answers: int = 0
    ended: int = 0
    warnings: tuple[Finding, ...] = ()
    advice: tuple[Finding, ...] = ()
    faults: tuple[Fault, ...] = ()
    compared: int = 0
    questions: int = 0
    questions_seen: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"fine": not self.faults, **asdict(self)}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def check(
    data: DataSection,
    stage: StageEncoding,
    encoder: Any,
    *,
    seed: int,
    cache_dir: Path,
    questions: Iterable[Question] = (),
) -> Health:
    """Prepare as a training would, and walk over the rows once more.

    `questions` of benchmarks are looked for in the rows.
    Broken and overlong rows become faults of the report where they would end a training; what stops the reading
    altogether (no such file, no row left) is raised as DataError.
    """
    on_overflow: Literal["truncate", "drop"] = "drop" if data.on_overflow == "drop" else "truncate"
    tolerant = replace(data, on_bad_row="skip", on_overflow=on_overflow, tokenized_path=None, streaming=False)
    prepared = prepare(tolerant, stage, encoder, seed=seed, cache_dir=cache_dir, quiet=True)
    benchmarks = Benchmarks(questions)
    surveys, twins = _walk(tolerant, stage, encoder, cache_dir, benchmarks)
    sets = sets_of(surveys, twins, len(data.dataset), limits_of(data, stage).cutoff_len)
    ended, answers = stop_share(prepared.train.parts if prepared.train is not None else (), encoder)
    template, asks = encoder.template, getattr(stage, "asks", False)
    reports = (*prepared.report.train, *prepared.report.evals)
    warnings = [*common(prepared.report, ended=ended, answers=answers, asks=asks), *of_report(prepared.report)]
    for one, counted in zip(sets, reports, strict=True):
        warnings += of_set(one, counted)
    return Health(
        template=template.name,
        cutoff_len=data.cutoff_len,
        report=prepared.report,
        sets=tuple(sets),
        answers=answers,
        ended=ended,
        warnings=tuple(warnings),
        advice=tuple(_advice(data, sets, template, prepared, stage)),
        faults=tuple(_faults(data, surveys, prepared.report)),
        compared=len(twins.digests),
        questions=len(benchmarks),
        questions_seen=len(benchmarks.seen),
    )


def _walk(
    data: DataSection, stage: StageEncoding, encoder: Any, cache_dir: Path, benchmarks: Benchmarks
) -> tuple[list[Survey], Twins]:
    twins = Twins()
    limits = limits_of(data, stage)
    entries = look_up([*data.dataset, *data.eval_dataset], data.dataset_dir)
    surveys = [
        survey(
            gatherer_of(brought(entry, cache_dir), stage, encoder, limits),
            twins,
            benchmarks,
            media_dir=Path(data.media_dir or data.dataset_dir),
            max_rows=None if entry.num_samples else data.max_samples,
        )
        for entry in entries
    ]
    return surveys, twins


def _advice(
    data: DataSection, sets: Sequence[SetHealth], template: Any, prepared: Prepared, stage: StageEncoding
) -> Iterator[Finding]:
    trained = [one for one in sets if not one.evaluated]
    enough = max((one.lengths.enough for one in trained), default=0)
    streamed = stage.joining == "stream" and (data.packing or data.neat_packing)
    if enough and not streamed:
        longest = max(one.lengths.longest for one in trained)
        cut = sum(one.lengths.over for one in trained)
        now = f"{data.cutoff_len:,} now cuts {cut:,} rows" if cut else f"{data.cutoff_len:,} now cuts none"
        yield Finding("cutoff_len", f"{enough:,} cuts less than 1 % of the rows (the longest has {longest:,}); {now}")
    yield from thinking_advice(trained, template, data.enable_thinking)


def _faults(data: DataSection, surveys: Sequence[Survey], report: DataReport) -> Iterator[Fault]:
    """What would end a training that runs with this recipe."""
    if data.on_bad_row == "error":
        for one in surveys:
            yield from (Fault(row.code, row.what, row.where, BROKEN) for row in one.bad)
            if one.broken > len(one.bad):
                yield Fault(one.bad[0].code, f"and {one.broken - len(one.bad)} more broken rows", one.name)
    if data.on_overflow == "error":
        for counted in (*report.train, *report.evals):
            if counted.cut:
                what = f"{counted.cut:,} rows are longer than cutoff_len ({data.cutoff_len:,})"
                yield Fault("DATA-LONG", what, counted.name, TOO_LONG)


def _lines(health: Health) -> Iterator[str]:
    yield f"template {health.template}, cutoff_len {health.cutoff_len:,}"
    yield str(health.report)
    for one in health.sets:
        yield ""
        yield f"{one.name}{' (to evaluate on)' if one.evaluated else ''}"
        if one.media:
            yield f"  {counted_media(one)}"
        yield from (f"  {line}" for line in one.lengths.lines())
    yield ""
    yield from _shares(health)
    for title, found in (("warnings", health.warnings), ("advice", health.advice)):
        if found:
            yield f"{title}:"
            yield from (f"  {finding}" for finding in found)
    yield "nothing stops a training" if not health.faults else f"faults that stop a training: {len(health.faults)}"


def _shares(health: Health) -> Iterator[str]:
    tokens = sum(one.tokens for one in health.report.train)
    learned = sum(one.learned for one in health.report.train)
    if tokens:
        yield f"{learned / tokens:.1%} of all tokens are learned"
    if health.answers:
        yield f"{health.ended / health.answers:.1%} of {health.answers:,} answers end in a token that stops the model"
    if health.questions:
        yield f"{health.questions_seen:,} of {health.questions:,} questions of the benchmark stand in the rows"
    records = sum(one.records for one in health.sets if not one.evaluated)
    if records:
        thinking = sum(one.thinking for one in health.sets if not one.evaluated)
        yield f"{thinking / records:.1%} of the rows think before they answer"
