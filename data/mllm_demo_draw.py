"""Draws the pictures of the set `mllm_demo` and writes its rows: shapes of six colours, and questions about them.

Run it from the repository's folder: `python data/mllm_demo_draw.py`. It needs Pillow, and makes the same bytes again.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
FOLDER = "mllm_demo_data"
COLOURS = {
    "red": (220, 30, 40), "green": (30, 160, 60), "blue": (30, 70, 220),
    "yellow": (240, 210, 30), "black": (15, 15, 15), "white": (250, 250, 250),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle")
GREY = (128, 128, 128)
SIDES = ((56, 56), (84, 56))
"""Width and height."""


def draw(colour: str, shape: str, size: tuple[int, int]) -> Image.Image:
    """One shape in the middle of a grey picture."""
    picture = Image.new("RGB", size, GREY)
    pen, (width, height) = ImageDraw.Draw(picture), size
    box = (width // 2 - 20, height // 2 - 20, width // 2 + 20, height // 2 + 20)
    if shape == "circle":
        pen.ellipse(box, fill=COLOURS[colour])
    elif shape == "square":
        pen.rectangle(box, fill=COLOURS[colour])
    else:
        pen.polygon([(box[0], box[3]), (box[2], box[3]), (width // 2, box[1])], fill=COLOURS[colour])
    return picture


def row(asked: list[tuple[str, str]], images: list[str]) -> dict[str, Any]:
    """Questions and answers as messages, and the pictures beside them."""
    messages = []
    for question, answer in asked:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "images": images}


def rows() -> list[dict[str, Any]]:
    """One row for each picture, and some that compare two of them."""
    made, drawn = [], list(product(COLOURS, SHAPES, range(len(SIDES))))
    for number, (colour, shape, side) in enumerate(drawn):
        path = f"{FOLDER}/{colour}-{shape}-{side}.png"
        draw(colour, shape, SIDES[side]).save(HERE / path, optimize=True)
        if number % 3 == 0:
            asked = [("<image>Which colour is the shape?", f"The shape is {colour}.")]
        elif number % 3 == 1:
            asked = [("<image>What do you see?", f"A {colour} {shape} on a grey ground.")]
        else:
            asked = [("Look at this: <image>\nWhich shape is it?", f"It is a {shape}."), ("And its colour?", colour)]
        made.append(row(asked, [path]))
    for first, second in (("red", "blue"), ("green", "yellow"), ("black", "white"), ("blue", "green")):
        images = [f"{FOLDER}/{colour}-circle-0.png" for colour in (first, second)]
        made.append(row([("<image><image>Name both colours, in order.", f"First {first}, then {second}.")], images))
    return made


if __name__ == "__main__":
    (HERE / FOLDER).mkdir(exist_ok=True)
    text = json.dumps(rows(), ensure_ascii=False, indent=2)
    (HERE / "mllm_demo.json").write_text(text + "\n", "utf-8")
