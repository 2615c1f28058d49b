"""The numbers at the end of a run: result files, the metrics block on the console, and the model card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.rundir import write_text

if TYPE_CHECKING:
    from hone.training.trainer import StageTrainer


def report(trainer: StageTrainer, split: str, metrics: dict[str, float]) -> None:
    """Print the block of one split (`train`, `eval`) and write `<split>_results.json` and `all_results.json`."""
    trainer.log_metrics(split, metrics)
    trainer.save_metrics(split, metrics)


def write_model_card(
    folder: Path,
    *,
    base_model: str,
    name: str,
    stage: str,
    tuner: str,
    datasets: Iterable[str],
    settings: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> None:
    """`README.md`: what was trained, on what, how, and how it came out."""
    sets = [one for one in datasets if one]
    head = [
        "---",
        f"library_name: {'peft' if tuner in ('lora', 'oft') else 'transformers'}",
        "license: other",
        f"base_model: {_quoted(base_model)}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in dict.fromkeys(("hone", tuner, stage))),
        "model-index:",
        f"- name: {_quoted(name)}",
        "  results: []",
        "---",
    ]
    where = f" on {', '.join(f'`{one}`' for one in sets)}" if sets else ""
    body = [
        f"# {name}",
        f"`{base_model}`, tuned with Hone ({stage}, {tuner}){where}.",
        "## Settings",
        "\n".join(f"- {key}: {value}" for key, value in settings.items()),
        "The whole recipe is in `recipe.yaml`, the course of the run in `trainer_log.jsonl`.",
        "## Results",
        "\n".join(f"- {key}: {_number(value)}" for key, value in sorted(metrics.items())) or "None measured.",
    ]
    write_text(folder / "README.md", "\n".join(head) + "\n\n" + "\n\n".join(body) + "\n")


def _quoted(text: str) -> str:
    """A YAML string, whatever is in it."""
    import json

    return json.dumps(text, ensure_ascii=False)


def _number(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
