"""How likely whole continuations are after many prompts: what all prompts begin with is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hone.engines.letters import logits_after, read_beginning
from hone.errors import NumericError


@torch.inference_mode()
def score_options(
    model: Any,
    prompts: Sequence[Sequence[int]],
    options: Sequence[Sequence[Sequence[int]]],
    *,
    rows: int,
    done: Callable[[int, list[float]], None],
    share: bool = True,
) -> None:
    """Tell `done` of each prompt, by its number, the log-probability of each of its options (their ids' sum, in nats).

    Batches of `rows` options of like length; a prompt is told of when its last option is through. `share` as in
    `choose_tokens`. Raises NumericError for logits that are not numbers.
    """
    cut, beginning = read_beginning(model, prompts, share=share)
    pairs = [(number, place) for number, offered in enumerate(options) for place in range(len(offered))]
    pairs.sort(key=lambda pair: (-len(prompts[pair[0]]) - len(options[pair[0]][pair[1]]), pair))
    sums = [[0.0] * len(offered) for offered in options]
    left = [len(offered) for offered in options]
    for start in range(0, len(pairs), rows):
        group = pairs[start : start + rows]
        wanted = [list(options[number][place]) for number, place in group]
        rests = [[*prompts[number][cut:], *ids] for (number, _), ids in zip(group, wanted, strict=True)]
        spans = [range(len(rest) - len(ids) - 1, len(rest) - 1) for rest, ids in zip(rests, wanted, strict=True)]
        places = sorted(set().union(*spans))
        logits = logits_after(model, rests, beginning, places)
        for row, (number, place) in enumerate(group):
            kept = logits[row, [places.index(each) for each in spans[row]]].float().log_softmax(dim=-1)
            value = float(kept.gather(1, torch.tensor(wanted[row], device=kept.device)[:, None]).sum())
            if value != value:
                raise NumericError.one(
                    "LOGITS-NAN", "the model gives numbers that are not finite", f"question {number}"
                )
            sums[number][place] = value
            left[number] -= 1
            if not left[number]:
                done(number, sums[number])
