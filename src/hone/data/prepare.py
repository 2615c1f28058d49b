"""From the recipe's data section to example sets: rows, records, examples, packs, in one straight line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hone.data import cache as store
from hone.data import mix, pack, saved
from hone.data.book import Entry, look_up
from hone.data.encode import first_token, refuse_prompts_with_efficient_eos
from hone.data.examples import ExampleSet
from hone.data.gather import Gatherer
from hone.data.load import Loaded, Reading, collect_bad_rows, load
from hone.data.pieces import Pieces, Writer, blocks_of
from hone.data.places import brought
from hone.data.report import DataReport
from hone.data.stage import Limits, StageEncoding
from hone.dialogue.records import Feedback, Preference
from hone.dialogue.template import GENERIC
from hone.errors import DataError, Fault, RecipeError
from hone.log import say, warn

if TYPE_CHECKING:
    from hone.data.stream import Stream
    from hone.recipe import DataSection


@dataclass(frozen=True)
class Prepared:
    """What a run trains on: a set, or a stream. `evals` has the key "" for a single set, else one key for each set."""

    train: ExampleSet | None
    evals: Mapping[str, ExampleSet] = field(default_factory=dict)
    report: DataReport = field(default_factory=DataReport)
    stream: Stream | None = None


def prepare(
    data: DataSection,
    stage: StageEncoding,
    encoder: Any,
    *,
    seed: int,
    cache_dir: Path,
    run_dir: Path | None = None,
    eval_stage: StageEncoding | None = None,
    train: bool = True,
    evaluate: bool = True,
    quiet: bool = False,
) -> Prepared:
    """Read, encode and pack the sets that `data` names, and print what became of their rows (unless `quiet`).

    `eval_stage` encodes the evaluation sets when they are encoded otherwise (generation); `run_dir` takes
    `bad_rows.jsonl`; examples are kept below `cache_dir`. Raises DataError (a broken row, no row left), RecipeError
    (a count that cannot be), MachineError (a worker died, no room).
    """
    limits = limits_of(data, stage)
    refuse_prompts_with_efficient_eos(encoder, limits)
    entries = look_up([*data.dataset, *(data.eval_dataset if evaluate else ())], data.dataset_dir)
    _refuse_kinds(entries, stage)
    if data.streaming and data.tokenized_path:
        fix = "keep one: prepared data are memory-mapped and need no stream"
        raise RecipeError.one("CFG-CONFLICT", "a stream is never saved", "streaming, tokenized_path", fix)
    place = Path(data.tokenized_path) if data.tokenized_path else None
    made_from = saved.inputs_of(data, entries, encoder, stage=stage.name, seed=seed, train=train) if place else {}
    if place is not None and (found := saved.find(place, made_from)) is not None:
        return _told(Prepared(found.train, found.evals, found.report), quiet=quiet)
    entries = tuple(brought(entry, cache_dir) for entry in entries)
    draws = {entry.name: entry.num_samples for entry in entries}
    plan = _Plan(data, stage, encoder, limits, seed, cache_dir, draws)
    if data.streaming and train:
        return _told(plan.streaming(entries, eval_stage, run_dir), quiet=quiet)
    wanted = train or (evaluate and data.val_size > 0)
    trained = [plan.load(entry, stage) for entry in entries[: len(data.dataset)]] if wanted else []
    tested = [plan.load(entry, eval_stage or stage, eval_stage) for entry in entries[len(data.dataset) :]]
    collect_bad_rows([*trained, *tested], run_dir, warn)
    whole = plan.mixed(trained, data.mix_strategy, data.interleave_probs) if trained else None
    evals = _evals(plan, tested, each=data.eval_on_each_dataset)
    if whole is not None and evaluate and data.val_size > 0 and not evals:
        kept, held = mix.split(len(whole), data.val_size, seed=seed)
        evals = {"": plan.as_evaluated(whole.select(held), entries[: len(data.dataset)], eval_stage)}
        whole = whole.select(kept)
    prepared = plan.finished(whole if train else None, evals, trained, tested, packs_evals=eval_stage is None)
    if place is not None:
        saved.save(place, prepared, made_from)
    return _told(prepared, quiet=quiet)


def _told(prepared: Prepared, *, quiet: bool) -> Prepared:
    if not quiet and (prepared.stream is None or prepared.report.evals):
        say(str(prepared.report))
    return prepared


def limits_of(data: DataSection, stage: StageEncoding) -> Limits:
    """The stage's limits. Whole examples in a pack have one token less, so that both stay within `cutoff_len`."""
    packs = bool(data.packing) or data.neat_packing
    stream = packs and stage.joining == "stream"
    cutoff_len = data.cutoff_len - 1 if packs and not stream else data.cutoff_len
    return Limits(max(cutoff_len, 1), data.train_on_prompt, data.mask_history, stream, data.on_overflow)


def gatherer_of(
    entry: Entry, stage: StageEncoding, encoder: Any, limits: Limits, *, keep_all: bool = False
) -> Gatherer:
    """What turns the rows of a set into examples; thoughts and calls in their texts are found by the family's words."""
    template = getattr(encoder, "template", None)
    words = (template.words, GENERIC) if template else (GENERIC,)
    return Gatherer(replace(entry, words=words), stage, encoder, limits, keep_all)


def _refuse_kinds(entries: Sequence[Entry], stage: StageEncoding) -> None:
    faults = []
    for entry in (one for one in entries if one.declared):
        if entry.ranking != (stage.record is Preference):
            what = "a ranked set (ranking: true)" if entry.ranking else "not a ranked set (ranking: true)"
            faults.append(Fault("DATA-STAGE", f"stage {stage.name} cannot use {what}", entry.name))
        elif entry.columns.kto_tag and stage.record is not Feedback:
            faults.append(Fault("DATA-STAGE", f"stage {stage.name} cannot use a set with a kto_tag", entry.name))
    DataError.all_of(faults)


def _refuse_draws(entries: Sequence[Entry], *, generated: bool) -> None:
    fix = "leave it out, or leave streaming out"
    faults = [
        Fault("DATA-STREAM", "num_samples draws from all rows, which a stream does not know", entry.name, fix)
        for entry in entries
        if entry.num_samples
    ]
    if generated:
        faults.append(Fault("DATA-STREAM", "answers are generated for eval_dataset only, not for val_size", "val_size"))
    DataError.all_of(faults)


def _evals(plan: _Plan, tested: Sequence[Loaded], *, each: bool) -> dict[str, ExampleSet]:
    if not tested:
        return {}
    if each:
        return {one.report.name: plan.mixed([one], "concat", ()) for one in tested}
    return {"": plan.mixed(tested, "concat", ())}


@dataclass(frozen=True)
class _Plan:
    """What every step needs to know."""

    data: DataSection
    stage: StageEncoding
    encoder: Any
    limits: Limits
    seed: int
    cache_dir: Path
    draws: Mapping[str, int | None]

    def load(self, entry: Entry, stage: StageEncoding, generating: StageEncoding | None = None) -> Loaded:
        """One set; where it is to be answered by generation, with every row."""
        reading = Reading(
            cache_dir=self.cache_dir,
            on_bad_row=self.data.on_bad_row,
            overwrite_cache=self.data.overwrite_cache,
            workers=self.data.preprocessing_num_workers,
            max_rows=None if entry.num_samples else self.data.max_samples,
        )
        keep_all = generating is not None or getattr(stage, "asks", False)
        return load(gatherer_of(entry, stage, self.encoder, self.limits, keep_all=keep_all), reading)

    def streaming(self, entries: Sequence[Entry], eval_stage: StageEncoding | None, run_dir: Path | None) -> Prepared:
        """Training rows are read while training; those of the evaluation sets before, as always."""
        from hone.data.stream import Joining, Source, Stream, refuse_processes

        refuse_processes()
        data = self.data
        count = len(data.dataset)
        _refuse_draws(entries[:count], generated=eval_stage is not None and data.val_size > 0)
        packs = bool(data.packing) or data.neat_packing
        how = self.stage.joining if packs else "no"
        joining = Joining(how, self.limits.cutoff_len, data.preprocessing_batch_size, first_token(self.encoder))
        skip = data.on_bad_row == "skip"
        sources = [Source(gatherer_of(entry, self.stage, self.encoder, self.limits), skip) for entry in entries[:count]]
        stream = Stream(
            sources, strategy=data.mix_strategy, probabilities=data.interleave_probs, seed=self.seed,
            buffer_size=data.buffer_size, joining=joining, longest=data.cutoff_len, held=int(data.val_size),
        )  # fmt: skip
        tested = [self.load(entry, eval_stage or self.stage, eval_stage) for entry in entries[count:]]
        collect_bad_rows(tested, run_dir, warn)
        evals = _evals(self, tested, each=data.eval_on_each_dataset)
        if stream.held:
            evals = {"": ExampleSet.over(stream.evaluated(), fingerprint="stream")}
        prepared = self.finished(None, evals, (), tested, packs_evals=eval_stage is None)
        say(f"streaming: rows of {', '.join(data.dataset)} are read while training")
        return replace(prepared, stream=stream)

    def mixed(self, loaded: Sequence[Loaded], strategy: str, probabilities: Sequence[float]) -> ExampleSet:
        """Several sets as one; what is drawn from each is drawn first."""
        whole = ExampleSet.over(*(one.pieces for one in loaded), fingerprint="+".join(one.key for one in loaded))
        chosen, start = [], 0
        for one in loaded:
            drawn = mix.sampled(len(one.pieces), self.draws[one.report.name], seed=self.seed)
            chosen.append(start + drawn[: self.data.max_samples])
            start += len(one.pieces)
        order = mix.mixed([len(numbers) for numbers in chosen], strategy, probabilities=probabilities, seed=self.seed)
        numbers = np.concatenate(chosen)[order]
        return whole if np.array_equal(numbers, np.arange(len(whole))) else whole.select(numbers)

    def as_evaluated(self, held: ExampleSet, entries: Sequence[Entry], stage: StageEncoding | None) -> ExampleSet:
        """The rows of `held`, encoded for evaluation: as they are, or again, for generation."""
        if stage is None:
            return held
        again = [self.load(entry, stage, stage).pieces for entry in entries]
        starts = np.cumsum([0, *(len(part) for part in held.parts)])
        part_of = np.searchsorted(starts, held.members, side="right") - 1
        offsets = np.cumsum([0, *(len(part) for part in again)])
        rows = held.rows
        places = [
            offsets[part] + np.searchsorted(again[part].rows, row) for part, row in zip(part_of, rows, strict=True)
        ]
        return ExampleSet.over(*again, fingerprint=held.fingerprint).select(places)

    def finished(
        self,
        train: ExampleSet | None,
        evals: Mapping[str, ExampleSet],
        trained: Sequence[Loaded],
        tested: Sequence[Loaded],
        *,
        packs_evals: bool,
    ) -> Prepared:
        """Packed, counted and warned about."""
        self._warn_placeholders(trained if train is not None else ())
        packed = self._packed(train) if train is not None else None
        ready = {name: self._streamed(one) if packs_evals else one for name, one in evals.items()}
        seen = np.unique(train.digests) if train is not None else np.empty(0, dtype=np.uint64)
        leaked = sum(int(np.isin(one.digests, seen).sum()) for one in evals.values())
        report = DataReport(
            train=tuple(one.report for one in trained),
            evals=tuple(one.report for one in tested),
            train_examples=len(train) if train is not None else 0,
            eval_examples=sum(len(one) for one in evals.values()),
            packs=len(packed) if packed is not None and packed is not train else 0,
            leaked=leaked,
        )
        if leaked:
            warn(f"DATA-LEAK: {leaked:,} examples to evaluate are trained on too; their loss will look too good")
        return Prepared(packed, ready, report)

    def _packed(self, whole: ExampleSet) -> ExampleSet:
        if self.limits.stream:
            return self._streamed(whole)
        if not (self.data.packing or self.data.neat_packing):
            return whole
        lengths = whole.lengths.tolist()
        window = self.data.preprocessing_batch_size
        bins = [
            [start + number for number in packed]
            for start in range(0, len(lengths), window)
            for packed in pack.fit(lengths[start : start + window], self.limits.cutoff_len)
        ]
        return whole.packed(bins)

    def _streamed(self, whole: ExampleSet) -> ExampleSet:
        """Texts run on and cut into blocks, which are kept like any set."""
        if not self.limits.stream:
            return whole
        first = first_token(self.encoder)
        inputs = {"dataset": "blocks", "files": [], "stage": self.stage.name, "texts": whole.fingerprint,
                  "cutoff_len": self.limits.cutoff_len, "first": first, "version": store.FORMAT}  # fmt: skip

        def make(folder: Path) -> dict[str, Any]:
            writer = Writer(folder)
            for pieces in blocks_of(pack.stream(whole, self.limits.cutoff_len, first=first), 1000):
                writer.append(pieces)
            writer.close()
            return {}

        kept = store.find(self.cache_dir, inputs, say) or store.build(self.cache_dir, inputs, make)
        return ExampleSet.over(Pieces.open(kept.folder), fingerprint=kept.folder.name)

    def _warn_placeholders(self, trained: Sequence[Loaded]) -> None:
        for one in trained:
            if one.report.placeholders:
                warn(
                    f"DATA-PLACEHOLDER: {one.report.placeholders:,} rows of {one.report.name} still say {{{{name}}}} or"
                    " {{author}}; put the names into the file, or the model will learn the braces"
                )
