"""LoRA tuning side by side: Hone and its peers, whole commands on the same rows, alternately, one table.

The first rows are supervised fine-tuning in several settings; `pt`, `rm`, `dpo` and `kto` are those stages, each side
with its defaults. `--ladder` is Hone alone, from padded rows up to its best: what each step of the way is worth.
`--only trl …` takes TRL as a peer, from the environment that HONE_TRL_VENV names.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peer import peer_command
from processes import Measured, measure
from rung import RUNGS, environment_of, settings_of

HERE = Path(__file__).parent
GIGAFLOP_A_TOKEN = 0.535
"""4 x 106M layer weights + 4 x 28M head weights where a label is + attention: nothing for frozen weights' gradients."""

RECIPE: dict[str, Any] = {
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 8,
    "lora_target": "all",
    "dataset": "rows",
    "template": "smollm2",
    "cutoff_len": 1024,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 1.0,
    "learning_rate": 1.0e-4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "overwrite_output_dir": True,
    "disable_shuffling": True,  # both see the same rows in the same order: the first losses must agree
    "seed": 42,
}
PEER_BF16 = {"bf16": True, "use_cpu": True}  # without use_cpu its library refuses bf16 on a processor
PEER_BEST = {**PEER_BF16, "disable_gradient_checkpointing": True, "train_sampling_strategy": "group_by_length"}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "default": ({}, {}, "float32"),
    "bf16": ({"bf16": True}, PEER_BF16, "bfloat16"),
    "best": ({"bf16": True}, PEER_BEST, "bfloat16"),
    **{stage: ({"stage": stage}, {"stage": stage}, "float32") for stage in ("pt", "rm", "dpo", "kto")},
}
"""Row → what Hone's recipe adds, what the peer's adds, the dtype of the products."""
TRL = {
    "default": {},
    "bf16": {"bf16": True},
    "best": {"bf16": True, "packing": True, "disable_gradient_checkpointing": True},
}
"""The rows that TRL has, and what its recipe adds."""
COLUMNS: dict[str, dict[str, Any]] = {
    "sft": {},
    "pt": {"columns": {"prompt": "output"}},
    "rm": {"ranking": True, "columns": {"prompt": "instruction", "chosen": "output", "rejected": "other"}},
    "dpo": {"ranking": True, "columns": {"prompt": "instruction", "chosen": "output", "rejected": "other"}},
    "kto": {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "liked"}},
}
"""How each stage reads the set: the worse answer is that to another question, and every second answer is disliked."""

GEMM = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[2]))
a = torch.randn(2048, 2048).to(getattr(torch, sys.argv[1])); b = a.clone(); best = 0.0
for _ in range(8):
    start = time.perf_counter(); a @ b; best = max(best, 2 * 2048**3 / (time.perf_counter() - start) / 1e9)
print(best)
"""


@dataclass(frozen=True)
class Row:
    """One run: samples and tokens a second of its training time, share of the product peak, GiB, seconds, loss."""

    who: str
    setting: str
    samples: float
    tokens: float
    mfu: float
    peak: float
    first_step: float
    wall: float
    processor: float
    first_loss: float
    loss: float


def main() -> None:
    """Parse, measure, print."""
    options = _options()
    rows = _ladder(options) if options.ladder else _pairs(options)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print("\n".join(map(_line, rows)) if options.ladder else _table(rows))


def _pairs(options: argparse.Namespace) -> list[Row]:
    """Each setting as often as asked, the sides in turns; the peak of products is measured before each turn."""
    commands = _commands(options.only)
    rows = []
    for setting in options.rows:
        mine, theirs, dtype = SETTINGS[setting]
        extra = {"hone": mine, "llamafactory": theirs, "trl": TRL.get(setting)}
        stage = mine.get("stage", "sft")
        counted = real_tokens(stage, options.samples)
        for _ in range(options.repeat):
            peak = gemm_peak(dtype, options.threads)
            for who, command in commands.items():
                added = extra[who]
                if added is not None:
                    tokens, samples = trained_on(who, stage, *counted)
                    rows.append(_run(who, command, setting, added, peak, tokens, samples, options))
                    print(_line(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _commands(sides: Sequence[str]) -> dict[str, list[str]]:
    """How each side's command line begins, Hone first."""
    cache = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone"))
    commands = {}
    if "hone" in sides:
        commands["hone"] = [str(Path(sys.executable).parent / "hone")]
    if "llamafactory" in sides:
        commands["llamafactory"] = peer_command(cache)
    if "trl" in sides:
        commands["trl"] = [str(Path(os.environ["HONE_TRL_VENV"]) / "bin" / "python"), str(HERE / "trl_side.py")]
    return commands


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=list(SETTINGS), default=["default", "bf16", "best"])
    parser.add_argument("--only", nargs="+", choices=["hone", "llamafactory", "trl"], default=["hone", "llamafactory"])
    parser.add_argument("--ladder", action="store_true", help="Hone alone, from padded rows up, one line a rung")
    parser.add_argument("--repeat", type=int, default=2, help="pairs of runs for each row")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--samples", type=int, default=48, help="only the first so many rows of the set")
    parser.add_argument("--warm", action="store_true", help="each command once before it is measured: a second start")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _ladder(options: argparse.Namespace) -> list[Row]:
    """One run of each rung; the peak of products is measured before each."""
    tokens, samples = real_tokens("sft", options.samples)
    rows = []
    for rung in RUNGS:
        peak = gemm_peak("bfloat16" if rung == "bf16" else "float32", options.threads)
        command = [sys.executable, str(HERE / "rung.py"), rung]
        more = environment_of(rung)
        rows.append(_run("hone", command, rung, settings_of(rung), peak, tokens, samples, options, more))
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    return rows


def gemm_peak(dtype: str, threads: int) -> float:
    """GFLOP/s of a 2048-cubed product on this machine now, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", GEMM, dtype, str(threads)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def instructions(samples: int) -> list[dict[str, Any]]:
    """The first rows of the set, each with the answer to the next question and whether it is liked."""
    rows = json.loads((HERE / "data" / "instructions.json").read_text(encoding="utf-8"))[:samples]
    return [row | {"other": rows[i - 1]["output"], "liked": i % 2 == 0} for i, row in enumerate(rows)]


def real_tokens(stage: str, samples: int) -> tuple[int, int]:
    """How many tokens (no padding) a stage learns from and rows the set has, by the model's own template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_model())
    rows = instructions(samples)
    names = ("output", "other") if stage in ("rm", "dpo") else ("output",)
    count = 0
    for row, name in ((row, name) for row in rows for name in names):
        asked = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": row[name]}]
        text = (
            row[name] + tokenizer.eos_token if stage == "pt" else tokenizer.apply_chat_template(turns, tokenize=False)
        )
        count += min(len(tokenizer(text, add_special_tokens=False).input_ids), RECIPE["cutoff_len"])
    return count, len(rows)


def trained_on(who: str, stage: str, tokens: int, samples: int) -> tuple[int, float]:
    """Tokens and rows that a side really trains on: of joined texts the peer drops what fills no whole block."""
    if who != "llamafactory" or stage != "pt":
        return tokens, samples
    whole = tokens // RECIPE["cutoff_len"] * RECIPE["cutoff_len"]
    return whole, samples * whole / tokens


def _model() -> str:
    from hone.models.embedded import embedded_model

    return str(embedded_model())


def _run(
    who: str,
    command: list[str],
    setting: str,
    added: dict[str, Any],
    peak: float,
    tokens: int,
    samples: float,
    options: argparse.Namespace,
    more: Mapping[str, str] | None = None,
) -> Row:
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as place:  # JSON is YAML too
        out = Path(place) / "out"
        recipe = {**RECIPE, **added, "model_name_or_path": _model(), "output_dir": str(out), "dataset_dir": place}
        entry = {"file_name": "rows.json", **COLUMNS[recipe["stage"]]}
        (Path(place) / "rows.json").write_text(json.dumps(instructions(options.samples)), encoding="utf-8")
        (Path(place) / "dataset_info.json").write_text(json.dumps({"rows": entry}), encoding="utf-8")
        (Path(place) / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        environment = {
            "OMP_NUM_THREADS": str(options.threads),
            "DISABLE_VERSION_CHECK": "1",
            "LLAMABOARD_ENABLED": "0",
            **(more or {}),
        }
        log = Path(place) / "log.txt"
        words = [*command, "train", str(Path(place) / "recipe.yaml")]
        if options.warm:
            measure([*words, "max_steps=1"], log=log, environment=environment)
            shutil.rmtree(out)
        seen = measure(words, log=log, first_line_of=out / "trainer_log.jsonl", environment=environment)
        results = json.loads((out / "train_results.json").read_text(encoding="utf-8"))
        log_line = (out / "trainer_log.jsonl").read_text(encoding="utf-8").splitlines()[0]
        results["first_loss"] = json.loads(log_line)["loss"]
        shutil.rmtree(out)
    return _row(who, setting, seen, results, peak, tokens, samples)


def _row(
    who: str, setting: str, seen: Measured, results: dict[str, float], peak: float, tokens: int, samples: float
) -> Row:
    seconds = results["train_runtime"]
    return Row(
        who,
        setting,
        samples=samples / seconds,
        tokens=tokens / seconds,
        mfu=tokens / seconds * GIGAFLOP_A_TOKEN / peak,
        peak=seen.peak,
        first_step=seen.first_step or float("nan"),
        wall=seen.wall,
        processor=seen.processor,
        first_loss=results["first_loss"],
        loss=results["train_loss"],
    )


def _line(row: Row) -> str:
    return (
        f"{row.who:13} {row.setting:12} {row.samples:6.2f} samples/s {row.tokens:6.0f} tok/s {row.mfu:5.0%} MFU "
        f"{row.peak:5.2f} GiB  first step {row.first_step:5.1f} s  whole {row.wall:6.1f} s  "
        f"cpu {row.processor:6.1f} s  loss {row.first_loss:.4f} at step 1, {row.loss:.4f} in mean"
    )


def _table(rows: Sequence[Row]) -> str:
    """Medians of each row and, under them, how many times faster than each peer Hone was in each pair."""
    lines = ["medians of the runs", ""]
    for setting in dict.fromkeys(row.setting for row in rows):
        sides = {
            who: [r for r in rows if r.setting == setting and r.who == who] for who in ("hone", "llamafactory", "trl")
        }
        lines += [_line(_median(side)) for side in sides.values() if side]
        mine = sides.pop("hone")
        lines += [_ratios(mine, theirs) for theirs in sides.values() if mine and theirs]
    return "\n".join(lines)


def _ratios(mine: Sequence[Row], theirs: Sequence[Row]) -> str:
    pairs = list(zip(mine, theirs, strict=True))
    speed = ", ".join(f"{a.tokens / b.tokens:.2f}" for a, b in pairs)
    start = ", ".join(f"{a.first_step / b.first_step:.2f}" for a, b in pairs)
    memory = ", ".join(f"{a.peak / b.peak:.2f}" for a, b in pairs)
    return f"  ratio to {theirs[0].who} in each pair: tok/s {speed}; time to first step {start}; peak memory {memory}\n"


def _median(rows: Sequence[Row]) -> Row:
    first = rows[0]
    numbers = {name: statistics.median(getattr(row, name) for row in rows) for name in list(asdict(first))[2:]}
    return Row(first.who, first.setting, **numbers)


if __name__ == "__main__":
    main()
