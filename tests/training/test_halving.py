"""Too little memory: the micro-batch is cut, the loss and the gradient stay, and it is said once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hone.training.lean import TrainerCallback

Make = Callable[..., Any]


class Scarce(torch.nn.Module):
    """The final norm of a model with room for `most` tokens: more do not go through it, forward or backward."""

    def __init__(self, norm: torch.nn.Module, most: int, *, backward: bool) -> None:
        super().__init__()
        self.norm, self.most, self.backward, self.refused = norm, most, backward, 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if hidden.shape[1] > self.most:
            if not self.backward:
                self._refuse()
            hidden.register_hook(lambda _: self._refuse())
        return self.norm(hidden)

    def _refuse(self) -> None:
        self.refused += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Gradients(TrainerCallback):
    """Keeps the gradients of the steps."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append({n.replace(".norm.norm.", ".norm."): p.grad.clone() for n, p in model.named_parameters()})


def course(make_trainer: Make, model: Any, rows: Any) -> tuple[list[float], list[dict[str, torch.Tensor]]]:
    seen = Gradients()
    trainer = make_trainer(
        rows, model=model, watchers=[seen], max_steps=3, per_device_train_batch_size=4, gradient_accumulation_steps=2
    )
    trainer.train()
    return [event["loss"] for event in trainer.state.log_history if "loss" in event], seen.steps


@pytest.mark.parametrize("backward", [False, True])
def test_a_micro_batch_too_large_is_cut_and_nothing_else_changes(
    make_trainer: Make, random_examples: Make, fresh_model: Make, capsys: pytest.CaptureFixture[str], backward: bool
) -> None:
    rows = random_examples(16, seed=4)
    losses, gradients = course(make_trainer, fresh_model(), rows)
    model = fresh_model()
    model.model.norm = scarce = Scarce(model.model.norm, 40, backward=backward)
    cut, others = course(make_trainer, model, rows)
    assert scarce.refused > 0
    assert cut == pytest.approx(losses, rel=1e-5)
    for one, other in zip(gradients, others, strict=True):
        assert all(torch.allclose(one[name], other[name], atol=2e-6) for name in one)
    assert capsys.readouterr().err.count("MEMORY") == 1


def test_one_example_that_is_too_large_by_itself_is_not_cut(
    make_trainer: Make, random_examples: Make, fresh_model: Make
) -> None:
    model = fresh_model()
    model.model.norm = Scarce(model.model.norm, 2, backward=False)
    with pytest.raises(torch.OutOfMemoryError):
        make_trainer(random_examples(4), model=model, max_steps=1).train()


def test_the_halves_of_pairs_keep_pairs_together(random_examples: Make) -> None:
    from hone.data.batch import collate, cut

    batch = collate(random_examples(6))
    left, right = cut(batch, together=2)
    assert {len(left["cu_seqlens"]), len(right["cu_seqlens"])} == {3, 5}
    assert torch.equal(torch.cat([left["input_ids"], right["input_ids"]], 1), batch["input_ids"])
    assert right["cu_seqlens"][0] == 0
    assert cut(collate(random_examples(2)), together=2) == ()
