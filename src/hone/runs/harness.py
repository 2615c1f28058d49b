"""`task: lm_eval:NAME`: lm-evaluation-harness puts its questions and counts, Hone's engine answers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hone.errors import HoneError, MachineError, RecipeError
from hone.log import result, say
from hone.recipe import Recipe
from hone.rundir import held, write_json, write_text
from hone.runs.evaluated import ANSWERS, PARTIAL, certainty, model_mark

PREFIX = "lm_eval:"
PACKAGE = "lm_eval"
PLAIN = (None, "fewshot", "empty")
"""Templates with which the harness's text is asked as it is."""
FIRST_METRICS = ("acc", "exact_match")


def hand_over(recipe: Recipe, save: Path | None) -> dict[str, float]:
    """Evaluate the task; returns the share of right answers, from 0 to 100, of each of its parts and on average.

    Tasks are those of the harness and those of YAML files in `task_dir`. Raises MachineError where the harness is not
    installed, RecipeError for a task that it does not know or cannot load, and the faults of the model.
    """
    from hone.runs.session import open_session

    name = (recipe.evaluation.task or "").removeprefix(PREFIX)
    if importlib.util.find_spec(PACKAGE) is None:
        raise MachineError.one(
            "PACKAGE", f"{PREFIX}{name} needs lm-evaluation-harness, which is not installed", "task",
            "pip install 'hone-llm[harness]'",
        )  # fmt: skip
    manager = _manager(recipe, name)
    session = open_session(recipe)
    if save is None:
        return _evaluate(recipe, name, manager, session, None)
    with held(save):
        return _evaluate(recipe, name, manager, session, save)


def _manager(recipe: Recipe, name: str) -> Any:
    """Knows the wanted task, of `task_dir` or (read only then: it takes long) of the harness; loads it once, so that
    its faults come before the model."""
    from lm_eval.tasks import TaskManager

    folder = Path(recipe.evaluation.task_dir)
    own = str(folder) if any(folder.glob("**/*.yaml")) else None
    manager = TaskManager(include_path=own, include_defaults=False) if own else None
    if manager is None or name not in manager.all_tasks:
        manager = TaskManager(include_path=own)
    if name not in manager.all_tasks:
        what = f"lm-evaluation-harness has no task {name!r}"
        raise RecipeError.one("EVAL-TASK", what, "task", "its list: lm_eval ls tasks; yours are YAML files in task_dir")
    try:
        manager.load([name])
    except Exception as reason:  # a task may be code of its own
        raise _failed(name, reason, "see to its data (most are downloaded from the hub)") from reason
    return manager


def _failed(name: str, reason: Exception, fix: str) -> HoneError:
    first = (str(reason).strip().splitlines() or [""])[0]
    what = f"lm-evaluation-harness cannot do {name} ({type(reason).__name__}: {first})"
    return RecipeError.one("EVAL-TASK", what, "task", fix)


def _evaluate(recipe: Recipe, name: str, manager: Any, session: Any, save: Path | None) -> dict[str, float]:
    from lm_eval import __version__, simple_evaluate
    from lm_eval.utils import handle_non_serializable, make_table

    from hone.evals.tables import report
    from hone.runs.harness_model import HarnessModel
    from hone.runs.unfinished import Unfinished, mark_of

    wanted = recipe.evaluation
    decides = [model_mark(recipe), name, __version__, wanted.n_shot, recipe.training.seed, recipe.data.template]
    mark = hashlib.sha256(repr(decides).encode()).hexdigest()[:32]
    if save is not None and mark_of(save / PARTIAL) not in (None, mark):
        what = "save_dir holds an unfinished evaluation of another recipe"
        raise RecipeError.one("EVAL-SAVE", what, str(save), "name a new folder")
    record = Unfinished(save / PARTIAL, mark) if save is not None else None
    model = HarnessModel(session, rows=wanted.batch_size, seed=recipe.training.seed, record=record)
    try:
        found = simple_evaluate(
            model, tasks=[name], num_fewshot=wanted.n_shot, task_manager=manager, batch_size=wanted.batch_size,
            apply_chat_template=recipe.data.template not in PLAIN, fewshot_random_seed=recipe.training.seed,
        )  # fmt: skip
    except HoneError:
        raise
    except Exception as reason:  # a task may be code of its own
        raise _failed(name, reason, "see `hone eval --debug`") from reason
    finally:
        if record is not None:
            record.close(done=False)
    rows = _rows(found["samples"])
    parts = _parts(rows)
    lines = [make_table(found).strip()]
    if parts:
        lines.insert(0, report(parts))
    result("\n".join(lines))
    if parts:
        result(certainty(parts["Average"]))
    if save is not None:
        said: dict[str, dict[str, Any]] = {}
        for row in rows:
            said.setdefault(row["subject"], {})[str(row["number"])] = row["said"]
        if parts:
            write_text(save / ANSWERS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        write_text(save / "results.log", "\n".join(lines) + "\n")
        own = {key: value for key, value in found.items() if key != "samples"}
        write_json(save / "harness.json", json.loads(json.dumps(own, default=handle_non_serializable)))
        write_json(save / "results.json", said)
        (save / PARTIAL).unlink(missing_ok=True)
        say(f"results in {save}")
    return {key: 100 * sum(values) / len(values) for key, values in parts.items()}


def _rows(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What was said to each question, in the order of tasks and questions; `right` where a metric says so."""
    rows = []
    for task, whole in sorted(samples.items()):
        own = [sample for sample in whole if sample["filter"] == whole[0]["filter"]]
        metric = _metric(own)
        for sample in sorted(own, key=lambda one: int(one["doc_id"])):
            row = {"subject": task, "number": int(sample["doc_id"]), "said": _said(sample)}
            row["wanted"] = str(sample["target"])
            rows.append(row if metric is None else row | {"right": bool(sample[metric])})
    return rows


def _metric(samples: Sequence[Mapping[str, Any]]) -> str | None:
    """The metric by which each answer is right or not, if the task has one."""
    names = sorted(samples[0]["metrics"], key=lambda name: (name not in FIRST_METRICS, name))
    return next((name for name in names if all(one[name] in (0, 1) for one in samples)), None)


def _said(sample: Mapping[str, Any]) -> str:
    """The place of the likeliest option, from 0, or the text (of several answers, the first)."""
    answers = sample["filtered_resps"]
    if len(answers) > 1 and all(isinstance(one, (tuple, list)) for one in answers):
        values = [one[0] for one in answers[: len(sample["arguments"])]]
        return str(values.index(max(values)))
    first = answers[0]
    return str(first[0] if isinstance(first, (tuple, list)) else first)


def _parts(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[bool]]:
    """The answers of each task, `Average` (all) first; nothing where a task's answers are not right or wrong."""
    if not rows or any("right" not in row for row in rows):
        return {}
    parts: dict[str, list[bool]] = {"Average": []}
    for row in rows:
        for part in ("Average", row["subject"]):
            parts.setdefault(part, []).append(row["right"])
    return parts
