"""Merging an adapter and writing the model: `hone export` and its peers, whole commands, time and peak memory."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer import peer_command
from processes import measure

QUIET = {"CUDA_VISIBLE_DEVICES": "", "DISABLE_VERSION_CHECK": "1"}


@dataclass(frozen=True)
class Row:
    """One run: seconds and GiB of the whole command."""

    who: str
    wall: float
    processor: float
    peak: float


def main() -> None:
    """Make an adapter, run both sides in turns, hold the results against each other, print."""
    options = _options()
    cache = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone"))
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as name:
        place = Path(name)
        base, adapter = _adapter(place)
        named = {"model_name_or_path": str(base), "adapter_name_or_path": str(adapter), "infer_dtype": "float32"}
        named |= {"template": "default", "finetuning_type": "lora", "export_device": "cpu"}
        hone = [str(Path(sys.executable).parent / "hone"), "export"]
        sides = {
            "hone": (hone, named | {"export_check": False}),
            "hone, compared": (hone, named | {"export_check": True}),
            "llamafactory": ([*peer_command(cache), "export"], named),
        }
        gguf = named | {"export_format": "gguf", "export_gguf_type": "q8_0", "export_check": False}
        rows: dict[str, list[Row]] = {}
        for turn in range(options.repeat):
            for who, (command, recipe) in sides.items():
                out = place / f"{who.replace(', ', '-')}-{turn}"
                rows.setdefault(who, []).append(_run(who, command, recipe, out, place, options))
            if options.converter:
                merged = place / f"hone-{turn}"
                out = place / f"gguf-{turn}"
                recipe = {key: value for key, value in gguf.items() if not key.startswith("adapter")}
                who = "hone, gguf q8_0 of the merged"
                rows.setdefault(who, []).append(
                    _run(who, hone, recipe | {"model_name_or_path": str(merged)}, out, place, options)
                )
                file = place / f"converted-{turn}.gguf"
                words = [
                    sys.executable,
                    str(options.converter),
                    str(merged),
                    "--outtype",
                    "q8_0",
                    "--outfile",
                    str(file),
                ]
                who = "convert_hf_to_gguf.py, q8_0"
                rows.setdefault(who, []).append(_measured(who, words, place, options))
                print(_same_tensors(out / "model.gguf", file), file=sys.stderr)
        print(_same_weights(place / "hone-0", place / "llamafactory-0"))
    for many in rows.values():
        print(
            _line(
                Row(
                    many[0].who,
                    *(statistics.median(getattr(row, key) for row in many) for key in ("wall", "processor", "peak")),
                )
            )
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--converter", type=Path, help="llama.cpp's convert_hf_to_gguf.py, to be run beside the GGUF export"
    )
    return parser.parse_args()


def _adapter(place: Path) -> tuple[Path, Path]:
    """The small real model, and an adapter of rank 8 on all its layers with random numbers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from hone.models.embedded import embedded_model

    base = embedded_model()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear"))
    torch.manual_seed(1)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.02)
    wrapped.save_pretrained(place / "adapter")
    return base, place / "adapter"


def _run(
    who: str, command: list[str], recipe: dict[str, Any], out: Path, place: Path, options: argparse.Namespace
) -> Row:
    file = place / "recipe.yaml"  # JSON is YAML too
    file.write_text(json.dumps(recipe | {"export_dir": str(out)}), encoding="utf-8")
    return _measured(who, [*command, str(file)], place, options)


def _measured(who: str, words: list[str], place: Path, options: argparse.Namespace) -> Row:
    environment = {**QUIET, "OMP_NUM_THREADS": str(options.threads)}
    seen = measure(words, log=place / "log.txt", environment=environment)
    row = Row(who, seen.wall, seen.processor, seen.peak)
    print(_line(row), file=sys.stderr, flush=True)
    return row


def _line(row: Row) -> str:
    return f"{row.who:30} {row.wall:6.1f} s  processor {row.processor:6.1f} s  {row.peak:5.2f} GiB"


def _same_weights(one: Path, other: Path) -> str:
    """The largest difference between the weights that both sides wrote."""
    from safetensors.torch import load_file

    found = [{} for _ in range(2)]
    for place, folder in enumerate((one, other)):
        for file in sorted(folder.glob("*.safetensors")):
            found[place] |= load_file(file)
    shared = found[0].keys() & found[1].keys()
    most = max(float((found[0][name].float() - found[1][name].float()).abs().max()) for name in shared)
    return f"{len(shared)} weights in both folders, largest difference {most:.1e}"


def _same_tensors(one: Path, other: Path) -> str:
    """How many tensors of two GGUF files are equal byte for byte."""
    import gguf

    ours, theirs = ({tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors} for path in (one, other))
    equal = sum(
        name in theirs and ours[name].tensor_type == theirs[name].tensor_type
        and ours[name].data.tobytes() == theirs[name].data.tobytes()
        for name in ours
    )  # fmt: skip
    return f"of {len(ours)} tensors ({len(theirs)} in the other file) {equal} are equal byte for byte"


if __name__ == "__main__":
    main()
