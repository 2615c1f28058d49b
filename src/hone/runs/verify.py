"""`hone verify`: is this recipe exact? Losses and gradients in two ways each, on a few of its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hone.errors import Fault, NumericError
from hone.log import result, say
from hone.recipe import Recipe, read_recipe
from hone.rundir import write_json, write_text
from hone.runs.verifying.finding import Report


def run(words: Sequence[str]) -> int:
    """The verb. Raises NumericError (exit 7) with a sentence for each check that fails."""
    in_json = "--json" in words
    recipe = read_recipe([word for word in words if word != "--json"], verb="train")
    report = verify(recipe, tells=not in_json)
    folder = Path(recipe.training.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "verify.json", report.as_dict())
    write_text(folder / "verify.md", report.page())
    if in_json:
        result(json.dumps(report.as_dict(), ensure_ascii=False, indent=2))
    say(f"report: {folder / 'verify.md'}")
    fix = "do not trust numbers of this recipe; report this with verify.json"
    NumericError.all_of(Fault("VERIFY", one.detail, one.title, fix) for one in report.failed)
    return 0


def verify(recipe: Recipe, *, tells: bool = False) -> Report:
    """Carry out all checks; nothing is written. With `tells` each is a line on stdout as it is done."""
    from hone.runs.verifying.bench import bench_of
    from hone.runs.verifying.checks import all_findings

    with bench_of(recipe) as bench:
        if tells:
            say(f"{len(bench.rows)} rows, float32, with {bench.subject}")
            for note in bench.notes:
                say(f"  {note}")
        findings = []
        for found in all_findings(bench):
            findings.append(found)
            if tells:
                result(str(found))
        return Report(
            model=recipe.model.model_name_or_path or "",
            stage=recipe.finetuning.stage,
            tuner=recipe.finetuning.finetuning_type,
            subject=bench.subject,
            rows=len(bench.rows),
            notes=tuple(bench.notes),
            findings=tuple(findings),
        )
