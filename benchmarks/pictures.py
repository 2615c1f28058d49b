"""Rows with pictures: preparing them side by side with llamafactory, and what a step of training on them costs."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from peer import peer_command

SIDE = Path(__file__).parent / "pictures_side.py"
SIZES = [(640, 480), (480, 640), (800, 600), (512, 512)]


def main() -> None:
    """Make the model's folder and the rows, and measure what was asked for."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-", dir=options.folder) as place:
        folder = Path(place)
        _write_model(folder / "model", whole=options.step)
        _write_rows(folder, options.rows)
        if options.step:
            print(_asked("step", sys.executable, folder)["told"])
            return
        cache = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone"))
        pythons = {"hone": sys.executable, "llamafactory": str(Path(peer_command(cache)[0]).parent / "python")}
        decoding = _asked("decoding", sys.executable, folder)["processor"]
        print(f"decoding each picture once: {1000 * decoding / options.rows:.2f} ms of processor", flush=True)
        for _ in range(options.repeat):
            _pair(pythons, folder, options.rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--repeat", type=int, default=2, help="pairs of runs")
    parser.add_argument("--step", action="store_true", help="Hone alone: steps on text, pictures, and both")
    parser.add_argument("--folder", help="where rows and caches go (default: the usual one)")
    return parser.parse_args()


def _pair(pythons: dict[str, str], folder: Path, count: int) -> None:
    made = {}
    for who, python in pythons.items():
        own = folder / who
        own.mkdir()
        made[who] = _asked(who, python, folder)
        seconds, worked = made[who]["seconds"], made[who]["processor"]
        print(
            f"{who:13} {count:,} rows in {seconds:6.2f} s: {count / seconds:7,.0f} rows/s, "
            f"{1000 * worked / count:.2f} ms of processor a row; {made[who]['tokens']:,} tokens",
            flush=True,
        )
        subprocess.run(["rm", "-rf", str(own)], check=True)
    mine, theirs = made["hone"], made["llamafactory"]
    ratios = [f"{theirs[name] / mine[name]:.2f} in {name}" for name in ("seconds", "processor")]
    same = "equal" if mine["ids"] == theirs["ids"] else "DIFFERENT"
    print(f"ratio: {', '.join(ratios)}; ids and labels: {same}", flush=True)


def _asked(who: str, python: str, folder: Path) -> dict[str, Any]:
    quiet = {"DISABLE_VERSION_CHECK": "1", "HF_HOME": str(folder / who / "huggingface")}
    threads = {} if who == "step" else {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, str(SIDE), who, str(folder)], capture_output=True, text=True, env={**os.environ, **quiet, **threads}
    )
    if done.returncode:
        raise SystemExit(f"{who} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _write_rows(folder: Path, count: int) -> None:
    """Each row asks about a picture of its own, a JPEG of about the size of a photo on a page."""
    chance = random.Random(7)
    words = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split()
    rows = []
    for number in range(count):
        _draw(folder / f"{number}.jpg", SIZES[number % len(SIZES)], number)
        asked, answered = (" ".join(chance.choices(words, k=length)) for length in (12, 60))
        talk = [{"role": "user", "content": f"<image>{asked}"}, {"role": "assistant", "content": answered}]
        rows.append({"messages": talk, "images": [f"{number}.jpg"]})
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    book = {"rows": {"file_name": "rows.json", "formatting": "sharegpt", "columns": columns, "tags": tags}}
    (folder / "dataset_info.json").write_text(json.dumps(book), encoding="utf-8")


def _draw(path: Path, size: tuple[int, int], seed: int) -> None:
    """Soft shapes under a little noise: a JPEG of some 50 KB, as photos of this size have."""
    import numpy as np
    from PIL import Image

    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    noise = chance.integers(-8, 9, (size[1], size[0], 1))
    Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).save(path, quality=85)


def _write_model(place: Path, *, whole: bool) -> None:
    """The folder of a LLaVA: the small model's tokenizer and shape, the tower of LLaVA 1.5 in front of it, made thin;
    random weights, of two layers unless it is to be `whole`."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, LlavaConfig

    from hone.models.embedded import embedded_model

    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image = tokenizer.convert_tokens_to_ids("<image>")
    text = {**AutoConfig.from_pretrained(embedded_model()).to_dict(), "vocab_size": len(tokenizer)}
    text["num_hidden_layers"] = text["num_hidden_layers"] if whole else 2
    tower = {
        "model_type": "clip_vision_model", "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6,
        "num_attention_heads": 4, "image_size": 336, "patch_size": 14,
    }  # fmt: skip
    config = LlavaConfig(text_config=text, vision_config=tower, image_token_id=image, image_token_index=image)
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(place)
    tokenizer.save_pretrained(place)
    side = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    (place / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "CLIPImageProcessor", **side}))
    both = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    (place / "processor_config.json").write_text(json.dumps({"processor_class": "LlavaProcessor", **both}))


if __name__ == "__main__":
    main()
