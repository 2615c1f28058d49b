"""Records become examples: token ids of what is asked and answered, what of it is learned, what a limit cuts off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hone.data.feedback import marked
from hone.data.keep import Kept, Sight, Walked, kept_lengths, sights_of, splits, walk
from hone.data.stage import Encoded, Limits
from hone.dialogue.example import IGNORED, Example, TokenIds
from hone.dialogue.message import Conversation, Message
from hone.dialogue.records import Chat, Document, Feedback, Preference
from hone.errors import RecipeError

_NONE = np.empty(0, dtype=np.int32)


def encode_sft(records: Sequence[Chat], encoder: Any, limits: Limits) -> list[Encoded]:
    """Conversations as examples that teach their answers (with `mask_history` the last one only)."""
    refuse_prompts_with_efficient_eos(encoder, limits)
    conversations = [encoder.shown(record.conversation) for record in records]
    written = encoder.turns_batch(conversations, mask_history=limits.mask_history)
    end = _end(encoder)
    walked = [
        walk(turns, conversation, encoder, limits, len(end))
        for turns, conversation in zip(written, conversations, strict=True)
    ]
    return _encoded(walked, encoder, end, on_prompt=limits.train_on_prompt)


def refuse_prompts_with_efficient_eos(encoder: Any, limits: Limits) -> None:
    """Where the end of an answer is learned at the next question, the question itself cannot be learned."""
    if limits.train_on_prompt and encoder.efficient_eos:
        what = "this template learns the end of an answer at the next question's first token"
        raise RecipeError.one(
            "CFG-CONFLICT", what, "train_on_prompt", "leave train_on_prompt out, or name another template"
        )


def encode_document(records: Sequence[Document], encoder: Any, limits: Limits) -> list[Encoded]:
    """Texts with their end token, all learned but what the tokenizer also pads with: where pad is eos, as in many
    models, the end of a text is not learned (so do the field's collators for plain text, and the recorded courses).
    Cut to the limit, and begun with bos where the tokenizer does so, unless they are to be run on into blocks."""
    encoded = []
    for record in records:
        ids = encoder.document(record.text)
        first = first_token(encoder)
        if limits.stream:
            kept, start = ids, []
        else:
            start = [] if first is None else [first]
            kept = ids[: limits.cutoff_len - len(start)]
        labels = [IGNORED if token == encoder.pad_id else token for token in start + kept]
        example = Example(np.array(start + kept, dtype=np.int32), np.array(labels, dtype=np.int32))
        encoded.append(Encoded(example, len(ids) - len(kept), len(ids) - len(kept)))
    return encoded


def first_token(encoder: Any) -> int | None:
    """The bos token that the tokenizer puts before every text, if it does."""
    adds = getattr(encoder.tokenizer, "add_bos_token", False)
    bos: int | None = encoder.bos_id
    return bos if adds else None


def encode_prompt(records: Sequence[Chat | Preference], encoder: Any, limits: Limits) -> list[Encoded]:
    """Questions to be answered by generation: two segments, the prompt (nothing learned) and the answer it had."""
    encoded = []
    for source, target, _ in _answers([_asked(record) for record in records], encoder):
        kept_source, kept_target = kept_lengths(len(source), len(target), limits.cutoff_len)
        example = _joined([(source[:kept_source], _NONE), (_NONE, target[:kept_target])])
        lost_target = len(target) - kept_target
        encoded.append(Encoded(example, len(source) - kept_source + lost_target, lost_target))
    return encoded


def encode_pair(records: Sequence[Preference], encoder: Any, limits: Limits) -> list[Encoded]:
    """Two segments: the better answer after its prompt, and the worse one. Both are cut to one length of prompt."""
    prompts = [encoder.shown(record.prompt) for record in records]
    chosen, rejected = (
        _answers([encoder.shown(_answered(*one)) for one in zip(prompts, answers, strict=True)], encoder)
        for answers in ([record.chosen for record in records], [record.rejected for record in records])
    )
    return [_pair(good, bad, encoder, limits) for good, bad in zip(chosen, rejected, strict=True)]


def encode_feedback(records: Sequence[Feedback], encoder: Any, limits: Limits) -> list[Encoded]:
    """Two segments: the answer after its prompt, and the answer of the row before (of the batch) after the same prompt,
    from which the drift of the policy is measured. Whether the answer was liked is a mark (`hone.data.feedback`)."""
    shown = [encoder.shown(record.conversation) for record in records]
    before = [shown[place - 1].messages[-1] for place in range(len(shown))]
    others = [_answered(_before(one), last) for one, last in zip(shown, before, strict=True)]
    both = zip(_answers(shown, encoder), _answers(others, encoder), strict=True)
    made = [_two(mine, other, encoder, limits) for mine, other in both]
    return [
        replace(one, example=marked(one.example, good=record.good)) for one, record in zip(made, records, strict=True)
    ]


def _encoded(rows: Sequence[Walked], encoder: Any, end: TokenIds, *, on_prompt: bool) -> list[Encoded]:
    """The rows as examples, which are stretches of one long array: made at once, since one by one it costs far more.

    `end` is learned behind an answer that is learned, in place of the first token of the next question; behind the
    last one it stands itself.
    """
    if not rows:
        return []
    parts: list[TokenIds] = []
    masked: list[bool] = []
    lengths: list[int] = []
    for row in rows:
        first = len(parts)
        for given, answer, learn, _ in row.kept:
            parts += (given, answer)
            masked += (not on_prompt, not learn)
        parts.append(end)
        masked.append(bool(row.kept) and not row.kept[-1][2])
        lengths.append(sum(map(len, parts[first:])))
    ids = _run(parts)
    labels = ids.copy()
    labels[np.repeat(masked, [*map(len, parts)])] = IGNORED
    made, begin = [], 0
    for row, length in zip(rows, lengths, strict=True):
        mine, taught = ids[begin : begin + length], labels[begin : begin + length]
        begin += length
        if len(end) and not on_prompt:
            _learn_ends(taught, row.kept, end)
        if row.media:
            taught[encoder.sees(mine)] = IGNORED
        made.append(Encoded(Example(mine, taught, media=row.media), row.lost, row.lost_learned))
    return made


def _learn_ends(labels: TokenIds, kept: Sequence[Kept], end: TokenIds) -> None:
    """The end of each answer that is learned and whole, at the first tokens of the next question."""
    begin, ends = 0, False
    for given, answer, learn, whole in kept:
        opening = end[: len(given)] if ends else end[:0]
        labels[begin : begin + len(opening)] = opening
        begin += len(given) + len(answer)
        ends = learn and whole


def _end(encoder: Any) -> TokenIds:
    """What follows the last answer and is learned, where the end of an answer is learned at the next question."""
    ids = [encoder.eos_id] if encoder.efficient_eos and encoder.eos_id is not None else []
    return np.array(ids, dtype=np.int32)


def _masked(ids: TokenIds) -> TokenIds:
    """Labels for tokens that are given, not learned."""
    return np.full(len(ids), IGNORED, dtype=np.int32)


def _asked(record: Chat | Preference) -> Conversation:
    if isinstance(record, Preference):
        return record.prompt
    return record.conversation


def _answered(prompt: Conversation, answer: Message) -> Conversation:
    return replace(prompt, messages=(*prompt.messages, answer))


def _before(conversation: Conversation) -> Conversation:
    return replace(conversation, messages=conversation.messages[:-1])


class _Answer(NamedTuple):
    """The ids of a prompt and of its answer, and the media of both."""

    source: TokenIds
    target: TokenIds
    sight: Sight


def _answers(conversations: Sequence[Conversation], encoder: Any) -> list[_Answer]:
    """Prompts and answers; a conversation that ends with a question gets an empty answer."""
    ended = [
        one if one.messages and one.messages[-1].role == "assistant" else _answered(one, Message("assistant", ()))
        for one in conversations
    ]
    end = _end(encoder)
    return [
        _Answer(source, _run([target, end]), sights_of([(source, target)], one, encoder)[0])
        for (source, target), one in zip(encoder.answers_batch(ended), ended, strict=True)
    ]


def _pair(better: _Answer, worse: _Answer, encoder: Any, limits: Limits) -> Encoded:
    source, good, bad = better.source, better.target, worse.target
    kept_source, kept_target = kept_lengths(len(source), max(len(good), len(bad)), limits.cutoff_len)
    if any(splits(one.sight, kept_source, kept_target) for one in (better, worse)):
        return _left_out(2 * len(source), len(good) + len(bad))
    prompt = source[:kept_source]
    segments = [(prompt, good[:kept_target]), (prompt, bad[:kept_target])]
    lost_learned = max(len(good) - kept_target, 0) + max(len(bad) - kept_target, 0)
    example = _seen(_joined(segments), [better, worse], encoder)
    return Encoded(example, 2 * (len(source) - kept_source) + lost_learned, lost_learned)


def _left_out(source: int, target: int) -> Encoded:
    """Nothing of a record whose prompts have `source` tokens and whose answers have `target`."""
    return Encoded(Example(_NONE, _NONE), source + target, target)


def _seen(example: Example, answers: Sequence[_Answer], encoder: Any) -> Example:
    """The example with the media of its segments, which are these answers; what stands for them is not learned."""
    media = tuple(medium for one in answers for medium in one.sight.media)
    if not media:
        return example
    labels = example.labels.copy()
    labels[encoder.sees(example.input_ids)] = IGNORED
    return replace(example, labels=labels, media=media)


def _two(first: _Answer, second: _Answer, encoder: Any, limits: Limits) -> Encoded:
    """The other answer gives way to the media of the prompt, which it has not to do with."""
    kept: list[tuple[TokenIds, TokenIds]] = []
    for source, target, sight in (first, second):
        kept_source, kept_target = kept_lengths(len(source), len(target), limits.cutoff_len)
        if kept and kept_source < sight.source:
            kept_source, kept_target = sight.source, limits.cutoff_len - sight.source
        if splits(sight, kept_source, kept_target):
            return _left_out(len(first.source), len(first.target))
        kept.append((source[:kept_source], target[:kept_target]))
    lost_learned = len(first.target) - len(kept[0][1])
    lost = len(first.source) - len(kept[0][0]) + lost_learned
    return Encoded(_seen(_joined(kept), [first, second], encoder), lost, lost_learned)


def _joined(segments: Sequence[tuple[TokenIds, TokenIds]]) -> Example:
    ids = [part for segment in segments for part in segment]
    labels = [part for source, target in segments for part in (_masked(source), target)]
    lengths = tuple(len(source) + len(target) for source, target in segments)
    return Example(_run(ids), _run(labels), lengths)


def _run(parts: Sequence[TokenIds]) -> TokenIds:
    """The parts, end to end."""
    return np.concatenate(parts, dtype=np.int32)
