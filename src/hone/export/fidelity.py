"""Whether an exported model still is the model: its odds and greedy answers beside those of the adapter on its base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hone.errors import ModelError
from hone.rundir import write_json

FILE = "fidelity.json"
ANSWER = 16
"""Tokens of a greedy answer that are compared, unless told otherwise."""
SMALL = 1 << 30
"""Models with fewer weights than this are checked without being asked."""
BOUNDS = {
    "f32": 1e-5, "float32": 1e-5, "f16": 1e-3, "float16": 1e-3, "bf16": 2e-3, "bfloat16": 2e-3, "q8_0": 1e-2,
}  # fmt: skip
"""The largest mean divergence, in nats; of coarser formats it is only told. llama.cpp rounds what flows between weights
of q8_0 to eight bits too: on the small real model that format costs 1.5e-3 by its weights, and 4.5e-3 with that."""
AIMS = {"q8_0": 1e-3}
"""What a format should cost and may miss, said where it does."""
QUESTIONS = (
    "Who are you?", "What is your name?", "Name three colours.", "What is 17 + 25?", "你好!你是谁?",
    "Write a short poem about the sea.", "Translate 'good morning' into French.", "How do I boil an egg?",
    "What is the capital of Japan?", "Write a Python function that adds two numbers.", "Explain gravity to a child.",
    "List the days of the week.", "用一句话介绍北京。", "What does HTTP stand for?", "Give me a synonym of 'happy'.",
    "Summarise: the cat sat on the mat because it was warm.", "Is the earth flat?", "Say hello in Spanish.",
    "Count from 1 to 5.", "What is a fine-tuned model?",
)  # fmt: skip


@dataclass(frozen=True)
class Witness:
    """What the adapter on its base said: for each prompt its ids, the greedy answer, and the odds [answer, vocabulary]
    (natural logarithms) before each token of it."""

    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    odds: tuple[Any, ...]


@dataclass(frozen=True)
class Fidelity:
    """How near the export is. `first_difference` counts the greedy tokens that are the same, the shortest of all
    prompts; `bound` is the largest mean divergence allowed, None where it is only told."""

    artefact: str
    form: str
    prompts: int
    tokens: int
    mean_kl: float
    max_kl: float
    top1_agreement: float
    same_answers: int
    first_difference: int
    prompt_ids_equal: bool
    bound: float | None

    @property
    def holds(self) -> bool:
        """Whether it is near enough."""
        return self.prompt_ids_equal and (self.bound is None or self.mean_kl <= self.bound)

    @property
    def missed(self) -> float | None:
        """The aim of the format, where it is missed."""
        aim = AIMS.get(self.form)
        return aim if aim is not None and self.mean_kl > aim else None

    def __str__(self) -> str:
        return (
            f"{self.artefact} ({self.form}): mean KL {self.mean_kl:.1e}, largest {self.max_kl:.1e}, same top token "
            f"{self.top1_agreement:.1%}, {self.same_answers} of {self.prompts} greedy answers equal"
            + (f"; a mean of {self.missed:.0e} was aimed at and is missed" if self.missed else "")
            + ("" if self.prompt_ids_equal else "; its prompts have other ids than in training")
        )


def ask(model: Any, prompts: Sequence[Sequence[int]], stop_ids: Sequence[int], *, length: int = ANSWER) -> Witness:
    """What a transformers model says."""
    import torch

    answers, odds = [], []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)], device=model.device)
        with torch.inference_mode():
            told = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length,
                eos_token_id=list(stop_ids) or None, pad_token_id=0, temperature=None, top_p=None, top_k=None,
                repetition_penalty=1.0, return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
        answers.append(tuple(told.sequences[0, len(prompt) :].tolist()))
        odds.append(torch.cat(told.logits).float().log_softmax(-1).cpu())
    return Witness(tuple(tuple(prompt) for prompt in prompts), tuple(answers), tuple(odds))


def compare_model(witness: Witness, model: Any, *, name: str, form: str, same_ids: bool) -> Fidelity:
    """A model that transformers loaded back; `same_ids`: whether its tokenizer gave the prompts' ids.

    It reads each answer of the witness at once, and what it finds likeliest at each place is its own greedy answer, up
    to the first token that differs.
    """
    import torch

    answers, odds = [], []
    for prompt, answer in zip(witness.prompts, witness.answers, strict=True):
        ids = torch.tensor([[*prompt, *answer]], device=model.device)[:, :-1]
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 :]
        likeliest = logits.argmax(-1).tolist()
        answers.append(likeliest[: _common(answer, likeliest) + 1])
        odds.append(logits.float().log_softmax(-1).cpu())
    places = [(number, place) for number, rows in enumerate(odds) for place in range(len(rows))]
    return judged(witness, answers, places, lambda n, p: odds[n][p], name=name, form=form, same_ids=same_ids)


def judged(
    witness: Witness,
    answers: Sequence[Sequence[int]],
    places: Sequence[tuple[int, int]],
    odds: Callable[[int, int], Any],
    *,
    name: str,
    form: str,
    same_ids: bool,
) -> Fidelity:
    """The comparison at these places (prompt, token of its answer); `odds` gives the export's there [vocabulary]."""
    divergences, agreed = [], 0
    for number, place in places:
        ours, theirs = witness.odds[number][place].double(), odds(number, place).double()
        kept = min(len(ours), len(theirs))  # a file may have been padded
        ours, theirs = ours[:kept], theirs[:kept]
        divergences.append(max(float((ours.exp() * (ours - theirs)).sum()), 0.0))
        agreed += int(ours.argmax() == theirs.argmax())
    same = [_common(one, other) for one, other in zip(witness.answers, answers, strict=True)]
    equal = sum(tuple(one) == tuple(other) for one, other in zip(witness.answers, answers, strict=True))
    return Fidelity(
        name, form, len(witness.prompts), len(places), sum(divergences) / len(places), max(divergences),
        agreed / len(places), equal, min(same), same_ids, BOUNDS.get(form),
    )  # fmt: skip


def filled(told: Mapping[int, float], ours: Any) -> Any:
    """Logarithms of odds [vocabulary] out of those of the likeliest tokens: these share what they have in `ours`, and
    the others have what they have there. (The program sums its odds in float32 over the whole vocabulary, and is
    off by as much as all the others have.)"""
    import torch

    ids = torch.tensor([one for one in told if one < len(ours)])
    found = torch.tensor([told[int(one)] for one in ids], dtype=torch.double).clamp(min=-80)
    whole = ours.double().clone()
    whole[ids] = found - found.logsumexp(0) + whole[ids].logsumexp(0)
    return whole


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def report(place: Path, found: Fidelity) -> None:
    """Write `fidelity.json`. Raises ModelError where the export is not the model that was tuned."""
    write_json(place / FILE, {**asdict(found), "holds": found.holds, "missed_aim": found.missed})
    if not found.holds:
        raise ModelError.one(
            "EXPORT-FIDELITY", f"the export is not the tuned model: {found}", found.artefact,
            f"at most {found.bound} is allowed; nothing was kept: choose a finer format, or export_check: false",
        )  # fmt: skip
