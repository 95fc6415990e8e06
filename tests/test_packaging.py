"""Dependencies are declared, and the built wheel works without the checkout."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = {
    *("jinja2", "jsonargparse", "matplotlib", "pytorch_lightning"),
    *("executorch", "onnxruntime", "openvino", "zstandard"),
}


def declared() -> set[str]:
    names = (re.split(r"[^\w-]", line, maxsplit=1)[0] for line in PROJECT["dependencies"])
    return {name.replace("-", "_") for name in names}


def imported() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "lightning_prune").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def test_what_is_imported_is_declared() -> None:
    assert imported() - {"lightning_prune"} <= declared() | OPTIONAL
    assert "numpy" in declared()


def run(*command: object, folder: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path or ""), "PIP_NO_INDEX": "1"}
    command = (sys.executable, *map(str, command))
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run("-m", "pip", "wheel", *options, ROOT, folder=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = message_from_bytes(archive.read(metadata))
    assert "lightning_prune/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"lightning_prune"}
    assert fields["Name"] == "lightning-prune"
    assert fields["Requires-Python"] == ">=3.11"
    assert any(line.startswith("numpy") for line in fields.get_all("Requires-Dist"))
    assert "Programming Language :: Python :: 3.11" in fields.get_all("Classifier")
    assert "pruning" in fields["Keywords"]
    assert fields.get_payload().startswith("# lightning_prune")


@pytest.mark.slow
def test_the_installed_wheel_runs_the_minimal_example(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    run("-m", "pip", "install", "--no-deps", "--target", site, wheel, folder=tmp_path)
    work.mkdir()
    shutil.copy(ROOT / "examples" / "minimal.py", work)
    program = "import lightning_prune as lp; print(lp.__file__); import minimal"
    where, *lines = run("-c", program, folder=work, path=site).splitlines()
    assert Path(where).is_relative_to(site)
    (verdict,) = (line for line in lines if "measured in turns" in line)
    assert float(verdict.split()[1].rstrip(",")) > 1.05
    assert (work / "small.safetensors").stat().st_size < 24e6
