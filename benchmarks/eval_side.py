"""The harness's side of `eval.py`: its model class scores the letters after given ids, in its own batches.

Run by the harness's own Python: MODEL PROMPTS OUT BATCH.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lm_eval.models.huggingface import HFLM


def main() -> None:
    """Read, ask, write the letters and the seconds."""
    model, prompts, out, batch = sys.argv[1:]
    asked = json.loads(Path(prompts).read_text(encoding="utf-8"))
    scorer = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=int(batch))
    letters = asked["letters"]
    requests = [
        ((str(number), letter), ids, [letters[letter]])
        for number, ids in enumerate(asked["prompts"])
        for letter in letters
    ]
    began = time.perf_counter()
    found = [value for value, _ in scorer._loglikelihood_tokens(requests, disable_tqdm=True)]
    seconds = time.perf_counter() - began
    said = []
    for start in range(0, len(found), len(letters)):
        odds = dict(zip(letters, found[start : start + len(letters)], strict=True))
        said.append(max(odds, key=lambda letter: odds[letter]))
    Path(out).write_text(json.dumps({"said": said, "seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main()
