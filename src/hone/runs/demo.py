"""The quickstart's lesson: the demo data with a name filled in, and a recipe that the user can run again."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

from hone.data.placeholders import fill
from hone.errors import MachineError
from hone.rundir import write_json, write_text

IDENTITY, EVERYDAY = "identity", "alpaca_en_demo"
MOST_EVERYDAY = 24
SOURCE = Path(__file__).parents[2]
CLONE = SOURCE.parent / "data"
"""Where the demo data lies in a clone; an installed package keeps it among its shared files."""

RECIPE = """\
# What `hone quickstart` ran. To run it again: hone train {file}
model_name_or_path: {model}

stage: sft                # learn from questions and answers
do_train: true
finetuning_type: lora     # a small adapter learns, the model itself stays as it is
lora_rank: 8
lora_target: all

dataset_dir: {data}
dataset: identity,everyday
cutoff_len: 512

output_dir: {output}
overwrite_output_dir: true
plot_loss: true
logging_steps: 1
save_strategy: "no"       # no checkpoints on the way; the adapter is saved at the end
report_to: none

per_device_train_batch_size: 8
learning_rate: 1.0e-3
lr_scheduler_type: cosine
warmup_ratio: 0.1
num_train_epochs: 3
"""


@dataclass(frozen=True)
class Lesson:
    """The files of a quickstart: the recipe, the data beside it, and where the adapter will lie."""

    recipe: Path
    data: Path
    adapter: Path


def write_lesson(folder: Path, model: Path, *, name: str, author: str) -> Lesson:
    """Write the data with name and author filled in, its `dataset_info.json`, and the recipe, to the folder.

    Beside the identity go a few everyday questions: a small model that hears nothing but its name answers all with it.
    Rows that are not English are left out, since the small model knows nothing else.
    """
    lesson = Lesson(folder / "train.yaml", folder / "data", folder / "lora")
    lesson.data.mkdir(parents=True, exist_ok=True)
    everyday = sorted(_english(demo_rows(EVERYDAY)), key=lambda row: sum(map(len, row.values())))[:MOST_EVERYDAY]
    sets = {IDENTITY: fill(_english(demo_rows(IDENTITY)), name, author), "everyday": everyday}
    for title, rows in sets.items():
        write_json(lesson.data / f"{title}.json", rows)
    write_json(lesson.data / "dataset_info.json", {title: {"file_name": f"{title}.json"} for title in sets})
    places = {"file": lesson.recipe, "model": model, "data": lesson.data, "output": lesson.adapter}
    quoted = {key: json.dumps(str(place), ensure_ascii=False) for key, place in places.items()}
    write_text(lesson.recipe, RECIPE.format(**quoted))
    return lesson


def _english(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if "".join(row.values()).isascii()]


def demo_rows(name: str) -> list[dict[str, str]]:
    """The rows of a demo set in alpaca's form. Raises MachineError where the package lacks it."""
    rows: list[dict[str, str]] = json.loads(_demo_file(f"{name}.json").read_text("utf-8"))
    return rows


def _demo_file(name: str) -> Path:
    if SOURCE.name == "src" and (CLONE / name).is_file():
        return CLONE / name
    try:
        installed = importlib.metadata.files("hone-llm") or []
    except importlib.metadata.PackageNotFoundError:
        installed = []
    for entry in installed:
        if entry.parts[-3:] == ("hone", "data", name):
            return Path(str(entry.locate()))
    raise MachineError.one("DEMO-DATA", "the demo data is not where the package keeps it", name, "install Hone again")
