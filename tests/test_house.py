"""The house rules that a machine can hold: who imports whom, no circles, opening sentences, nothing unsafe."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "hone"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "log", "registry", "rundir", "imports"),
    ("recipe", "dialogue"),
    ("models", "training", "media", "evals"),
    ("data", "engines", "export"),
    ("stages",),
    ("runs",),
    ("server", "web"),
    ("cli",),
)
"""From the ground up. A room may import from lower layers and, inside the ground floor only, from its neighbours."""

HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate", "matplotlib")


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def level_of(room: str) -> int:
    return next(level for level, rooms in enumerate(LAYERS) if room in rooms)


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Full names of the modules a file imports, wherever the import stands (or at module level only)."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = top_level(tree) if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run on import; what stands under `if TYPE_CHECKING` does not."""
    for node in tree.body:
        if isinstance(node, ast.If | ast.Try):
            if "TYPE_CHECKING" not in ast.dump(getattr(node, "test", node)):
                yield from (child for child in ast.walk(node) if isinstance(child, ast.stmt))
        else:
            yield node


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {module_name(path) for path in FILES}


def test_every_room_stands_in_the_table() -> None:
    rooms = {room_of(module_name(path)) for path in FILES} - {"", "__main__"}
    assert rooms <= {room for layer in LAYERS for room in layer}


def test_imports_go_down_and_siblings_are_strangers() -> None:
    wrong = []
    for path in FILES:
        here = room_of(module_name(path))
        if here in ("", "__main__"):
            continue
        for name in imports_of(path):
            there = room_of(name) if name.split(".")[0] == "hone" else ""
            if not there or there == here or there.startswith("__"):
                continue
            both_ground = level_of(here) == level_of(there) == 0
            if level_of(there) >= level_of(here) and not both_ground:
                wrong.append(f"{path.relative_to(ROOT)} ({here}) imports {name}")
    assert wrong == []


def test_no_circles_between_modules() -> None:
    graph = {
        module_name(path): sorted({n for n in imports_of(path, top_only=True) if n in MODULES} - {module_name(path)})
        for path in FILES
    }
    done: set[str] = set()

    def walk(node: str, trail: tuple[str, ...]) -> None:
        assert node not in trail, "circle: " + " -> ".join((*trail[trail.index(node) :], node))
        if node in done:
            return
        for child in graph.get(node, ()):
            if not node.startswith(child + "."):
                walk(child, (*trail, node))
        done.add(node)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("room", ["recipe", "dialogue"])
def test_light_rooms_name_no_heavy_library(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (PACKAGE / room).rglob("*.py")
        for name in imports_of(path)
        if name.split(".")[0] in HEAVY
    ]
    assert found == []


def test_light_rooms_import_nothing_heavy() -> None:
    modules = [
        m
        for m in sorted(MODULES)
        if room_of(m) in ("errors", "log", "registry", "rundir", "imports", "recipe", "dialogue")
    ]
    code = (
        f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
        f"print([h for h in {HEAVY!r} if h in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_every_file_opens_with_the_sentence_that_says_what_it_holds() -> None:
    silent = []
    for path in [
        *FILES,
        *sorted((ROOT / "tests").rglob("*.py")),
        *sorted((ROOT / "benchmarks").rglob("*.py")),
    ]:
        opening = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0]
        if len(opening) < 20 or not opening.rstrip().endswith((".", ":", "?")):
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_no_room_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "misc", "common", "helper", "helpers", "manager"}
    assert [str(p) for p in PACKAGE.rglob("*") if p.stem in drawers] == []


UNSAFE = re.compile(
    r"shell=True|\bpickle\.loads?\(|\byaml\.load\(|trust_remote_code=True|weights_only=False"
    r"|torch\.load\((?![^)]*weights_only=True)|(?<![\w.])(?:eval|exec)\(|jinja2\.(?:Template|Environment)\("
)


def test_nothing_unsafe_by_our_own_rules() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if UNSAFE.search(line)
    ]
    assert found == []


def test_the_repository_names_no_machine_and_no_registry_host() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    pattern = re.compile(r"(?<![\w.])/(?:work|farm|root)/|pypi\.org|pythonhosted|registry\.npmjs|deb\.debian\.org")
    found = []
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".png", ".jpg", ".safetensors"} or path == Path(__file__) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{name}:{number}")
    assert found == []
