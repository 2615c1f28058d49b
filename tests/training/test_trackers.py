"""Trackers that `report_to` names get the log of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.errors import RecipeError
from hone.recipe import settle
from hone.recipe.rules import training as rules


def test_tensorboard_holds_every_loss_of_the_run(
    make_trainer: Callable[..., Any], random_examples: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = tmp_path / "board"
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(place))
    trainer = make_trainer(random_examples(8), max_steps=3, report_to=["tensorboard"])
    trainer.train()
    (file,) = place.rglob("events.out.*")
    read = EventAccumulator(str(file)).Reload()
    held = [(event.step, event.value) for event in read.Scalars("train/loss")]
    logged = [(event["step"], event["loss"]) for event in trainer.state.log_history if "loss" in event]
    assert len(logged) == 3
    assert dict(held) == pytest.approx(dict(logged))
    assert json.loads(trainer.args.to_json_string())["report_to"] == ["tensorboard"]


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_refused_with_the_line_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules.importlib.util, "find_spec", lambda module: None)
    recipe = {"model_name_or_path": "m", "dataset": "identity", "do_train": True, "report_to": name}
    with pytest.raises(RecipeError, match=f"pip install {name}") as caught:
        settle(recipe, verb="train")
    assert caught.value.faults[0].code == "CFG-PACKAGE"
