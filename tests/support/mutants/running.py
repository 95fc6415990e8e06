"""pytest inside this process: some tests, with one file of the project replaced in memory."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override


def run_pytest(root: Path, scratch: Path, arguments: Sequence[str], plugin: object) -> int:
    """Run pytest as in a process of its own whose working directory is the root."""
    os.chdir(root)
    sys.argv = ["pytest"]
    sys.path.insert(0, str(root))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    quiet = [
        "-p",
        "no:cacheprovider",
        "-q",
        "--tb=no",
        "--no-header",
        "--no-summary",
        "--show-capture=no",
    ]
    basetemp = f"--basetemp={scratch / 'pytest'}"
    return int(pytest.main([*quiet, basetemp, *arguments], plugins=[plugin]))


class Substitute(SourceFileLoader):
    """Imports one module from a text, and leaves all others to those who come after it.

    Args:
        name: of the module.
        path: of its file.
        text: to run in its place.
    """

    def __init__(self, name: str, path: Path, text: str) -> None:
        super().__init__(name, str(path))
        self._text = text

    def install(self) -> None:
        if self.name in sys.modules:
            raise RuntimeError(f"Expected `{self.name}` not to be imported yet, but it is.")
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    @override
    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self._text, self.path, "exec", dont_inherit=True)

    @override
    def get_source(self, fullname: str) -> str:
        return self._text


def module_name(file: str) -> str:
    """Return under which name a file, given from the root, is imported."""
    parts = Path(file).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Selected:
    """A plugin that runs certain tests in a certain order, and tells which one failed first.

    Args:
        nodes: the ids of the tests.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        self._order = {node: index for index, node in enumerate(nodes)}
        self.failed: str | None = None
        self.ran = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(chosen, key=lambda item: self._order[item.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = self.failed or f"collection of {report.nodeid}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call"
        if report.failed:
            self.failed = self.failed or report.nodeid
