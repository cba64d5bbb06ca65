"""The house keeps its order: packages import in the order in which data flows.

Imports for type checkers alone do not count: nothing runs by them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "copydetect", ROOT / "pipelines")

FLOW = """
    errors
    json_values spelling quiet_imports models homographies intervals
    types sorted_rows
    self_check
    storage tables runs
    workers
    options
    parts
    images
    inputs
    edits
    description
    index
    search
    candidates
    verification
    grouping
    settings
    run_folder
    summary results
    catalog
    exporting report
    evaluation
    training
    transforms
    comparing api
    pipelines
    __main__
"""
"""Each line may import the lines above it, and the names beside it.

`models` holds files; `__init__` offers names of what is below, loaded when they are asked for; and
`api` imports the jobs when one of its functions is called.
"""
RANKS = {name: rank for rank, line in enumerate(FLOW.split("\n")) for name in line.split()}
CALLED_LATER = {("api", "pipelines")}
BEAM = (
    "copydetect/transforms/",
    "copydetect/storage/clients.py",
    "copydetect/storage/swaps.py",
    "pipelines/",
)


def files() -> list[Path]:
    """All modules, but for the stand-in of the jobs."""
    found = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
    return [path for path in found if path != ROOT / "copydetect/pipelines/__init__.py"]


def name_of(path: Path) -> str:
    """A module's name, as it is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("copydetect", *parts) if parts[0] == "pipelines" else parts
    return ".".join(parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """The names of the modules that a file imports when it runs, wherever it does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for inner in ast.walk(block)
    }
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The package or file of copydetect/ that a module is in."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_flow(path: Path) -> None:
    room = room_of(name_of(path))
    if not room:
        return
    assert room in RANKS, f"say where {room} is in the flow"
    for module in imported(path):
        other = room_of(module)
        if module.split(".")[0] != "copydetect" or other not in RANKS or other == room:
            continue
        if (room, other) not in CALLED_LATER:
            assert RANKS[other] <= RANKS[room], f"{room} imports {module}, which is below it"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_has_its_rooms(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    libraries = {module.split(".")[0] for module in imported(path)}
    if not place.startswith(BEAM):
        assert "apache_beam" not in libraries
    if not place.startswith("pipelines/"):
        assert "argparse" not in libraries
    assert "pipelines" not in libraries, "it is copydetect.pipelines wherever it is installed"


def test_no_two_public_classes_have_one_name() -> None:
    names = [
        node.name
        for path in files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def written() -> Iterator[Path]:
    """All files of code, the tests too."""
    yield from files()
    yield from sorted((ROOT / "tests").glob("*.py"))


def test_files_and_functions_are_short() -> None:
    """400 lines a file; 40 a function, its docstring not counted."""
    long = []
    for path in written():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            long.append(str(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = node.body[0]
                said = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
                if node.end_lineno - node.lineno + 1 - said > 40:
                    long.append(f"{path}: {node.name}")
    assert long == []


def test_a_job_on_an_ordinary_processor_loads_no_more_than_it_needs() -> None:
    """Each of these takes a good part of a second, or three, before a run begins."""
    heavy = {"torch", "sklearn", "matplotlib", "scipy.stats", "onnx"}
    code = f"import sys, copydetect.pipelines.job; print(*({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert loaded.stdout.split() == []
