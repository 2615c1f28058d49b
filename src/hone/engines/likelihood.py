"""How likely whole continuations are after many prompts: what all prompts begin with is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from hone.engines.letters import logits_after, read_beginning
from hone.errors import NumericError


class Score(NamedTuple):
    """A continuation's log-probability (its ids' sum, in nats), and whether each id was the likeliest at its place."""

    logprob: float
    greedy: bool


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

    As `score_continuations`.
    """
    score_continuations(
        model,
        prompts,
        options,
        rows=rows,
        done=lambda number, scores: done(number, [score.logprob for score in scores]),
        share=share,
    )


@torch.inference_mode()
def score_continuations(
    model: Any,
    prompts: Sequence[Sequence[int]],
    options: Sequence[Sequence[Sequence[int]]],
    *,
    rows: int,
    done: Callable[[int, list[Score]], None],
    share: bool = True,
) -> None:
    """Tell `done` of each prompt, by its number, the score of each of its options.

    Batches of `rows` options of like length; a prompt is told of when its last option is through. `share` as in
    `choose_tokens`. Raises NumericError for logits that are not numbers.
    """
    cut, beginning = read_beginning(model, prompts, share=share)
    pairs = [(number, place) for number, offered in enumerate(options) for place in range(len(offered))]
    pairs.sort(key=lambda pair: (-len(prompts[pair[0]]) - len(options[pair[0]][pair[1]]), pair))
    scores = [[Score(0.0, True)] * len(offered) for offered in options]
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
            ids = torch.tensor(wanted[row], device=kept.device, dtype=torch.long)
            value = float(kept.gather(1, ids[:, None]).sum())
            if value != value:
                raise NumericError.one(
                    "LOGITS-NAN", "the model gives numbers that are not finite", f"question {number}"
                )
            scores[number][place] = Score(value, bool((kept.argmax(dim=-1) == ids).all()))
            left[number] -= 1
            if not left[number]:
                done(number, scores[number])
