"""Records as token ids and labels, for every stage, with the real small model's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import Tally, cases, needs_corpus, table

from hone.data import encode
from hone.data.examples import ExampleSet
from hone.data.formats.sharegpt import check_order
from hone.data.pack import fit, stream
from hone.data.row import RowFault
from hone.data.stage import Encoded, Limits
from hone.dialogue.encoder import Encoder
from hone.dialogue.example import IGNORED, Example
from hone.dialogue.fix_tokenizer import fix_tokenizer
from hone.dialogue.message import Conversation, Message, Text
from hone.dialogue.records import Chat, Document, Feedback, Preference
from hone.dialogue.template import GENERIC, load_template, template_names
from hone.dialogue.wording import read_conversation, read_message
from hone.errors import HoneError, RecipeError

FAMILY = "processors"
Outputs = dict[str, Any]


@cache
def encoder_for(model: Path, name: str, options: str) -> Encoder:
    from transformers import AutoTokenizer

    template = load_template(name).with_options(**json.loads(options))
    tokenizer = AutoTokenizer.from_pretrained(model)
    fix_tokenizer(tokenizer, template)
    return Encoder(template, tokenizer)


def words(encoder: Encoder) -> tuple[Any, ...]:
    return (encoder.template.words, GENERIC)


def conversation(record: dict[str, Any], encoder: Encoder, *answers: dict[str, str]) -> Conversation:
    turns = [*record["_prompt"], *answers]
    return read_conversation(turns, *words(encoder), system=record["_system"] or "", tools=record["_tools"] or "")


def is_asked(record: dict[str, Any]) -> bool:
    """Whether the prompt is in order and ends with a question."""
    try:
        check_order(
            [read_message("user" if n % 2 == 0 else "assistant", "x") for n in range(len(record["_prompt"]))],
            answered=False,
        )
    except RowFault:
        return False
    return True


def chats(records: Sequence[dict[str, Any]], encoder: Encoder) -> list[Chat]:
    valid = [one for one in records if is_asked(one) and len(one["_response"]) == 1]
    return [Chat(conversation(one, encoder, *one["_response"])) for one in valid]


def limits(case: dict[str, Any], *, packs: bool = False) -> Limits:
    options = case["options"]
    explicit = options.get("packing") or options.get("neat_packing")
    return Limits(
        cutoff_len=options.get("cutoff_len", 2048) - bool(explicit),
        train_on_prompt=options.get("train_on_prompt", False),
        mask_history=options.get("mask_history", False),
        stream=packs,
    )


def rows(encoded: Sequence[Encoded]) -> list[Example]:
    return [one.example for one in encoded]


def plain(examples: Sequence[Example]) -> Outputs:
    if not examples:
        return {}
    return {
        "input_ids": [example.input_ids.tolist() for example in examples],
        "attention_mask": "all_ones",
        "labels": [example.labels.tolist() for example in examples],
    }


def supervised(case: dict[str, Any], records: list[dict[str, Any]], encoder: Encoder) -> Outputs:
    return plain(rows(encode.encode_sft(chats(records, encoder), encoder, limits(case))))


def unsupervised(case: dict[str, Any], records: list[dict[str, Any]], encoder: Encoder) -> Outputs:
    asked = [
        Chat(conversation(one, encoder, *(one["_response"] if len(one["_response"]) == 1 else [])))
        for one in records
        if is_asked(one)
    ]
    made = rows(encode.encode_prompt(asked, encoder, limits(case)))
    if not made:
        return {}
    return {
        "input_ids": [one.input_ids[: one.lengths[0]].tolist() for one in made],
        "attention_mask": "all_ones",
        "labels": [one.labels[one.lengths[0] :].tolist() for one in made],
    }


def pretrain(case: dict[str, Any], records: list[dict[str, Any]], encoder: Encoder) -> Outputs:
    packs = case["options"].get("packing", True)
    texts = [Document(one["_prompt"][0]["content"]) for one in records]
    made = rows(encode.encode_document(texts, encoder, limits(case, packs=packs)))
    if packs:
        made = list(stream(made, limits(case).cutoff_len, first=encode.first_token(encoder)))
    return {"input_ids": [example.input_ids.tolist() for example in made], "attention_mask": "all_ones"}


def packed_supervised(case: dict[str, Any], records: list[dict[str, Any]], encoder: Encoder) -> Outputs:
    """Hone's packs hold no padding; it is put in here, as the corpus writes it."""
    bound = limits(case)
    made = ExampleSet.of(rows(encode.encode_sft(chats(records, encoder), encoder, bound)))
    packs = list(made.packed(fit(made.lengths.tolist(), bound.cutoff_len)))
    neat = case["options"].get("neat_packing", False)
    padded = [padding(pack, bound.cutoff_len + 1, encoder.pad_id, neat=neat) for pack in packs]
    outputs = {key: [one[key] for one in padded] for key in padded[0]}
    return outputs if neat else {**outputs, "attention_mask": "all_ones"}


def padding(pack: Example, length: int, pad_id: int | None, *, neat: bool) -> Outputs:
    rest = length - len(pack.input_ids)
    counted = [number for number, size in enumerate(pack.lengths, start=1) for _ in range(size)]
    row = {
        "input_ids": pack.input_ids.tolist() + [pad_id] * rest,
        "labels": pack.labels.tolist() + [IGNORED] * rest,
        "position_ids": [place for size in pack.lengths for place in range(size)] + [0] * rest,
        "attention_mask": counted + [0] * rest,
    }
    if neat:
        ends = np.cumsum([0, *pack.lengths]).tolist()
        row["packing_params"] = {"sequence_boundaries": [*ends, length] if rest else ends, "right_padding_length": rest}
    return row


def pairwise(case: dict[str, Any], records: list[dict[str, Any]], encoder: Encoder) -> Outputs:
    valid = [one for one in records if is_asked(one) and len(one["_response"]) >= 2]
    pairs = [
        Preference(
            conversation(one, encoder),
            *(read_message(answer["role"], answer["content"], *words(encoder)) for answer in one["_response"][:2]),
        )
        for one in valid
    ]
    return halves(rows(encode.encode_pair(pairs, encoder, limits(case))), "chosen_", "rejected_")


def feedback(case: dict[str, Any], records: list[dict[str, Any]], encoder: Encoder) -> Outputs:
    valid = [one for one in records if is_asked(one) and len(one["_response"]) >= 2]
    judged = [liked(one, encoder) for one in valid]
    outputs = halves(rows(encode.encode_feedback(judged, encoder, limits(case))), "", "kl_")
    return {**outputs, "kto_tags": [one.good for one in judged]} if outputs else {}


def liked(record: dict[str, Any], encoder: Encoder) -> Feedback:
    good = bool(record["_response"][0]["content"])
    answer = record["_response"][0 if good else 1]
    return Feedback(conversation(record, encoder, answer), good)


def halves(examples: Sequence[Example], first: str, second: str) -> Outputs:
    if not examples:
        return {}
    outputs: Outputs = {}
    for prefix, take in ((first, slice(0, 1)), (second, slice(1, 2))):
        cut = [(one, np.cumsum([0, *one.lengths])) for one in examples]
        spans = [(one, ends[:-1][take][0], ends[1:][take][0]) for one, ends in cut]
        outputs[f"{prefix}input_ids"] = [one.input_ids[a:b].tolist() for one, a, b in spans]
        outputs[f"{prefix}attention_mask"] = "all_ones"
        outputs[f"{prefix}labels"] = [one.labels[a:b].tolist() for one, a, b in spans]
    return outputs


PROCESSORS: dict[str, Callable[[dict[str, Any], list[dict[str, Any]], Encoder], Outputs]] = {
    "supervised": supervised,
    "unsupervised": unsupervised,
    "pretrain": pretrain,
    "packed_supervised": packed_supervised,
    "pairwise": pairwise,
    "feedback": feedback,
}


def wanted_of(case: dict[str, Any]) -> Outputs:
    outputs = {
        key: value for key, value in case["expect"]["outputs"].items() if key not in ("images", "videos", "audios")
    }
    if "packing_params" in outputs:
        kept = ("sequence_boundaries", "right_padding_length")
        outputs["packing_params"] = [{key: one[key] for key in kept} for one in outputs["packing_params"]]
    return outputs


def judged(case: dict[str, Any], encoder: Encoder) -> str | None:
    records = [table("processor_records")[key] for key in case["records"]]
    try:
        got = PROCESSORS[case["processor"]](case, records, encoder)
    except HoneError as error:
        return None if "error" in case["expect"] else str(error)
    if "error" in case["expect"]:
        return f"no error, but {got}"
    wanted = wanted_of(case)
    return None if got == wanted else f"{got}\n  not {wanted}"


def keeps_its_tail(case: dict[str, Any], encoder: Encoder) -> bool:
    """Packed texts: all the blocks of the corpus, and then the rest, which the corpus throws away."""
    if case["processor"] != "pretrain" or not case["options"].get("packing", True):
        return False
    records = [table("processor_records")[key] for key in case["records"]]
    blocks, wanted = pretrain(case, records, encoder)["input_ids"], case["expect"]["outputs"].get("input_ids", [])
    return blocks[: len(wanted)] == wanted and len(blocks) == len(wanted) + 1


def made_of(case: dict[str, Any], encoder: Encoder) -> Outputs:
    return PROCESSORS[case["processor"]](case, [table("processor_records")[key] for key in case["records"]], encoder)


def has_control_words(case: dict[str, Any], encoder: Encoder) -> bool:
    """Text that looks like a control token stays text in Hone: other ids, and letter by letter the same text."""
    said = json.dumps([table("processor_records")[key] for key in case["records"]], ensure_ascii=False)
    if not any(word in said for word in encoder.control.ids):
        return False
    decode = encoder.tokenizer.decode  # type: ignore[attr-defined]
    got, wanted = made_of(case, encoder), case["expect"]["outputs"]
    sides = [key for key in wanted if key.endswith("input_ids")]
    return all([*map(decode, got[key])] == [*map(decode, wanted[key])] for key in sides)


def ends_without_a_token(case: dict[str, Any], encoder: Encoder) -> bool:
    """Where the tokenizer lacks the card's end token a text ends with eos; the corpus spells the token out as text."""
    end = encoder.template.document_end
    if case["processor"] != "pretrain" or not end or end in encoder.control.vocabulary:
        return False
    decode = encoder.tokenizer.decode  # type: ignore[attr-defined]
    pairs = zip(made_of(case, encoder)["input_ids"], case["expect"]["outputs"]["input_ids"], strict=True)
    return all(ours[-1] == encoder.eos_id and decode(theirs) == decode(ours[:-1]) + end for ours, theirs in pairs)


def follows_an_invalid_row(case: dict[str, Any], encoder: Encoder) -> bool:
    """The answer that drift is measured on comes from a row that is trained on, not from one that was thrown away."""
    records = [table("processor_records")[key] for key in case["records"]]
    if case["processor"] != "feedback" or all(len(one["_response"]) >= 2 and is_asked(one) for one in records):
        return False
    got, wanted = made_of(case, encoder), wanted_of(case)
    return all(got[key] == wanted[key] for key in wanted if not key.startswith("kl_"))


def history_has_no_ends(case: dict[str, Any], encoder: Encoder) -> bool:
    """With the history masked, the end of no answer in it is learned; eos is recorded there, nothing else differs."""
    if not (case["options"].get("mask_history") and encoder.efficient_eos):
        return False
    got, wanted = made_of(case, encoder), wanted_of(case)
    same = got["input_ids"] == wanted["input_ids"]
    pairs = [(a, b) for ours, theirs in zip(got["labels"], wanted["labels"], strict=True)
             for a, b in zip(ours, theirs, strict=True)]  # fmt: skip
    return same and all(a == b or (a == IGNORED and b == encoder.eos_id) for a, b in pairs)


ON_PURPOSE = (history_has_no_ends, keeps_its_tail, has_control_words, ends_without_a_token, follows_an_invalid_row)


@needs_corpus
@pytest.mark.model
def test_records_become_the_tokens_of_the_corpus(tally: Tally, small_model: Path) -> None:
    faults = []
    for case in cases(FAMILY):
        name = case["options"].get("template", "chatml")
        if name not in template_names():
            tally.record(FAMILY, case["id"], "not built")
            continue
        chosen = {key: value for key, value in case["options"].items() if key in ("enable_thinking", "tool_format")}
        encoder = encoder_for(small_model, name, json.dumps(chosen))
        fault = judged(case, encoder)
        if fault and any(rule(case, encoder) for rule in ON_PURPOSE):
            tally.record(FAMILY, case["id"], "deliberate")
        else:
            faults.append(tally.judge(FAMILY, case["id"], fault))
    assert not [fault for fault in faults if fault]


@pytest.mark.model
def test_learning_the_prompt_is_refused_where_its_first_token_ends_the_answer(small_model: Path) -> None:
    encoder = encoder_for(small_model, "bailing", "{}")
    chat = Chat(Conversation((Message("user", (Text("q"),)), Message("assistant", (Text("a"),)))))
    with pytest.raises(RecipeError, match="train_on_prompt"):
        encode.encode_sft([chat], encoder, Limits(64, train_on_prompt=True))
