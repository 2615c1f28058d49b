"""The first batch looked at as a training does, and the ids of rows held against those that serving would send."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hone.runs.verifying.bench import SEEN, Bench
from hone.runs.verifying.finding import Finding
from hone.training.exactness import outcome


def check_first_batch(bench: Bench, name: str, title: str) -> Finding:
    """Share of learned tokens, range of ids, a finite loss, a gradient for every weight that learns."""
    import math

    import torch

    from hone.training.audit import IGNORED, Audit

    model, stage = bench.built(stirred=False)
    batches = bench.batches(model, stage)
    audit = Audit(model, quiet=True)
    audit.look_at_batches(batches)
    found = outcome(stage, model, batches)
    if not math.isfinite(found.loss) or not math.isfinite(found.largest):
        return Finding(name, title, "fails", f"the loss is {found.loss}, the largest gradient {found.largest}")
    with contextlib.redirect_stderr(io.StringIO()) as told:
        audit.look_at_gradients([torch.tensor(found.loss)])
    labels = [batch[key] for batch in batches for key in batch if key.endswith("labels")]
    learned, total = sum(int((one != IGNORED).sum()) for one in labels), sum(one.numel() for one in labels)
    share = f"{learned:,} of {total:,} tokens are learned ({learned / total:.1%})"
    warned = told.getvalue().strip().replace("\n", "; ")
    return Finding(
        name, title, "holds",
        f"{share}, {len(found.gradients)} weights get a gradient, loss {found.loss:.3f}" + (warned and f"; {warned}"),
    )  # fmt: skip


def check_ids(bench: Bench, name: str, title: str) -> Finding:
    """The ids that training puts before the last answer are those that chat and serving send."""
    from hone.dialogue.records import Document

    stage, encoder = bench.encoding.stage, bench.encoding.encoder
    if stage.record is Document:
        return Finding(name, title, "does not apply", "plain text is not asked anything")
    same = excused = 0
    for place, example, asked in _asked(bench):
        if asked is None:
            excused += 1
            continue
        sent = encoder.prompt(asked)
        if example.input_ids[: len(sent)].tolist() != sent:
            return Finding(name, title, "fails", f"{place}: training begins with other ids than serving sends")
        same += 1
    why = f"{excused} rows with thoughts of earlier turns are trained on otherwise (see docs/templates.md)"
    if not same:
        return Finding(name, title, "does not apply", why if excused else "no row could be read")
    return Finding(name, title, "holds", f"{same} rows" + (f"; {why}" if excused else ""))


def _asked(bench: Bench) -> Iterator[tuple[str, Any, Any]]:
    """Where a row lies, its whole example, and what serving would be asked (None where that is known to differ)."""
    from pathlib import Path

    from hone.data.book import look_up
    from hone.data.places import brought
    from hone.data.prepare import gatherer_of, limits_of
    from hone.data.row import BadRow
    from hone.data.sources import files_at, read_rows
    from hone.rundir import cache_root

    data = replace(bench.recipe.data, cutoff_len=1 << 20, packing=False, neat_packing=False)
    stage, encoder = bench.encoding.stage, bench.encoding.encoder
    for entry in look_up(data.dataset, data.dataset_dir):
        gatherer = gatherer_of(brought(entry, Path(cache_root()) / "data"), stage, encoder, limits_of(data, stage))
        for row in itertools.islice(read_rows(files_at(gatherer.entry.path)), SEEN):
            record = None if isinstance(row, BadRow) else gatherer.record(row, [])
            if record is None:
                continue
            asked = _prompt_of(record, bench)
            yield f"{row.file}:{row.number}", stage.encode([record], encoder, gatherer.limits)[0].example, asked


def _prompt_of(record: Any, bench: Bench) -> Any:
    """The conversation that serving would be asked to continue; None where docs/templates.md says that it differs."""
    from hone.dialogue.message import Conversation, Thought
    from hone.dialogue.records import Chat

    if hasattr(record, "prompt"):
        return record.prompt
    conversation = record.conversation
    messages = conversation.messages
    before = messages[:-1] if messages and messages[-1].role == "assistant" else messages
    asked = Conversation(before, conversation.tools)
    thinking = getattr(bench.encoding.encoder.template, "thinking", None)
    if not isinstance(record, Chat) or bench.encoding.stage.name != "sft" or thinking is None:
        return asked
    several = any(message.role == "assistant" for message in before)
    exact = bench.recipe.data.mask_history and not thinking.preserve
    thought = any(isinstance(part, Thought) for part in messages[-1].parts)
    unset = bench.recipe.data.enable_thinking is None and thought
    return None if (several and not exact) or unset else asked
