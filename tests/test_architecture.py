"""The floors: imports point down, every public name has one home, and the root holds folders."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import lightning_prune

PACKAGE = Path(lightning_prune.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
FLOORS = {
    "errors": 1,
    "arguments": 1,
    "display": 1,
    "modules": 2,
    "runtime": 2,
    "units": 3,
    "allocations": 4,
    "compensations": 4,
    "criteria": 4,
    "formats": 4,
    "granularities": 4,
    "regularizations": 4,
    "schedules": 4,
    "coupling": 5,
    "measure": 5,
    "export": 6,
    "metrics": 6,
    "compaction": 6,
    "pruning": 7,
    "report": 8,
    "callbacks": 9,
    "loops": 9,
    "recipes": 10,
    "command": 10,
    "__init__": 11,
    "__main__": 12,
}
CALLBACKS = {
    "accuracy_guard",
    "compaction",
    "distillation",
    "export",
    "latency_monitor",
    "pruning",
    "report",
    "sparsity_monitor",
}


@dataclass(frozen=True)
class Import:
    """One import statement: the file it stands in, and the dotted name that it imports."""

    file: Path
    target: str

    @property
    def source(self) -> list[str]:
        return list(self.file.with_suffix("").parts)

    @property
    def parts(self) -> list[str]:
        return self.target.split(".")[1:] or ["__init__"]


def imports() -> Iterator[Import]:
    for file in FILES:
        for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
            if isinstance(node, ast.Import):
                yield from (Import(file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file} imports relatively"
                yield Import(file, str(node.module))


def hints_of(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        hints = (getattr(node, name, None) for name in ("annotation", "returns"))
        yield from (hint for hint in hints if hint is not None)


OWN = [one for one in imports() if one.target.partition(".")[0] == "lightning_prune"]


def test_every_folder_has_a_floor() -> None:
    assert {file.parts[0].removesuffix(".py") for file in FILES} == FLOORS.keys()


def test_imports_point_down() -> None:
    up = [
        f"{found.file} imports {found.target}"
        for found in OWN
        if found.source[0] != found.parts[0] and FLOORS[found.source[0]] <= FLOORS[found.parts[0]]
    ]
    assert up == []


def test_only_callbacks_know_lightning() -> None:
    names = ("lightning", "pytorch_lightning")
    knowing = {one.file.parts[0] for one in imports() if one.target.split(".")[0] in names}
    assert knowing == {"callbacks"}


def test_classes_of_lightning_are_looked_up_in_both_namespaces() -> None:
    """Elsewhere `lightning` is for type hints, which nothing evaluates, and for warnings."""
    namespaces = Path("callbacks", "trainer", "namespaces.py")
    importing = [one.file for one in imports() if one.target.startswith("pytorch_lightning")]
    assert importing == [namespaces]
    targets = {one.target for one in imports() if one.file != namespaces}
    lightning = {target for target in targets if target.startswith("lightning.")}
    assert lightning <= {"lightning.pytorch.utilities"}
    for file in FILES:
        tree = ast.parse((PACKAGE / file).read_text())
        hints = {id(name) for hint in hints_of(tree) for name in ast.walk(hint)}
        used = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "L"]
        assert all(id(name) in hints for name in used), file


def test_no_callback_imports_another() -> None:
    crossing = [
        f"{one.file} imports {one.target}"
        for one in OWN
        if one.source[0] == "callbacks" == one.parts[0]
        and len(one.parts) > 1
        and one.source[1] != "__init__"
        and {one.source[1], one.parts[1]} <= CALLBACKS
        and one.source[1] != one.parts[1]
    ]
    assert crossing == []


def test_what_runs_inside_compact_models_imports_alone() -> None:
    others = {one.target for one in OWN if one.source[0] == "runtime" != one.parts[0]}
    assert others <= {"lightning_prune.errors"}


def test_the_root_holds_folders() -> None:
    entries = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert entries == {"__init__.py", "__main__.py", "errors.py", "py.typed", "README.md"}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_string_is_a_path_into_another_folder(file: Path) -> None:
    names = {part.removesuffix(".py") for path in FILES for part in path.parts}
    paths = {
        argument.value
        for node in ast.walk(ast.parse((PACKAGE / file).read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("path.join")
        and ast.unparse(node.args[0]) != "_TORCH"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    assert {path.removesuffix(".py") for path in paths}.isdisjoint(names)


def test_every_public_name_has_one_home() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        for node in ast.parse((PACKAGE / file).read_text()).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                homes[node.name].append(str(file))
    # What bears the name of an operation is found by that alone.
    tables = ("coupling/rules/", "compaction/constants/transfers/")
    # A metric bears the name of what it measures, a word of the command that of its function.
    tables += ("metrics/", "command/")
    double = {
        name: files
        for name, files in homes.items()
        if len([file for file in files if not file.startswith(tables)]) > 1
    }
    assert double == {}
