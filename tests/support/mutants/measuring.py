"""Which tests run which lines: measured one test file at a time, and kept until it changes."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage
from coverage.data import CoverageData
from tqdm import tqdm

from support.mutants.forked import Pool, Task
from support.mutants.running import run_pytest

WHOLE_FILE = "*"
FILE_SECONDS = 1800.0


class Measuring:
    """A plugin that notes which lines every test runs, how long it takes and whether it passes.

    What fixtures of a wider scope run counts for every test of the file.

    Args:
        coverage: started; its context is changed here.
        package: the folder whose caches are emptied before every test.
    """

    def __init__(self, coverage: Coverage, package: Path) -> None:
        self.seconds: dict[str, float] = {}
        self.bad: set[str] = set()
        self.skipped: set[str] = set()
        self.collecting = time.perf_counter()
        self._coverage = coverage
        self._package = package
        self._node = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.bad.add(report.nodeid)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collecting = time.perf_counter() - self.collecting

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._forget(item)
        self._node = item.nodeid
        self._coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._coverage.switch_context("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        self._coverage.switch_context(WHOLE_FILE)
        try:
            return (yield)
        finally:
            self._coverage.switch_context(self._node)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        node = report.nodeid
        self.seconds[node] = self.seconds.get(node, 0.0) + report.duration
        if not report.passed:
            (self.bad if report.failed else self.skipped).add(node)

    def _forget(self, item: pytest.Item) -> None:
        """Empty caches, so that a test runs what it would run alone."""
        modules = [m for m in list(sys.modules.values()) if self._is_ours(m)]
        for value in (v for m in modules for v in list(vars(m).values())):
            if isinstance(value, functools._lru_cache_wrapper):
                value.cache_clear()

    def _is_ours(self, module: Any) -> bool:
        file = getattr(module, "__file__", None)
        return isinstance(file, str) and file.startswith(f"{self._package.parent}/")


def measure(
    root: Path, package: str, files: Sequence[str], marks: str, cache: Path, pool: Pool[str]
) -> dict[str, dict[str, Any]]:
    """Run test files under coverage, each in a process, where this has not been done already.

    Args:
        root: of the project.
        package: the folder in it that is measured.
        files: the test files, from the root.
        marks: which tests: pytest's ``-m``.
        cache: a folder for results. One holds until the test file changes, or what tests share,
            or a file of the package that it runs.
        pool: where to run.

    Returns:
        For each test file the seconds that it takes to be collected, what does not pass, and its
        tests with their seconds and lines.

    Raises:
        RuntimeError: if a file cannot be run.
    """
    cache.mkdir(parents=True, exist_ok=True)
    shared = digest(root, [p for p in python_files(root / "tests") if not _is_test(p)])
    found = {}
    for file in files:
        kept = cache / f"{digest(root, [root / file], shared, marks)}.json"
        known = json.loads(kept.read_text()) if kept.exists() else None
        if known and known["sources"] == digest(root, [root / f for f in known["files"]]):
            found[file] = known
        else:
            work = functools.partial(_measure_file, root, root / package, file, marks)
            pool.waiting.append(Task(file, work, FILE_SECONDS))
    with tqdm(total=len(pool.waiting), desc="coverage", unit="file", disable=None) as bar:
        for ended in pool.results():
            file = ended.subject
            if ended.result is None:
                raise RuntimeError(f"Expected {file} to run, but got: {ended.problem}")
            kept = cache / f"{digest(root, [root / file], shared, marks)}.json"
            kept.with_suffix(".part").write_text(ended.result)
            kept.with_suffix(".part").rename(kept)
            found[file] = json.loads(ended.result)
            bar.update()
    return found


def python_files(folder: Path) -> list[Path]:
    """Return the Python files in a folder and below, in order, but for those of this runner."""
    ours = Path(__file__).parent
    runner = {ours, ours.with_name("mutation.py")}
    return sorted(p for p in folder.rglob("*.py") if runner.isdisjoint({p, *p.parents}))


def digest(root: Path, paths: Sequence[Path], *words: str) -> str:
    """Return what changes with the contents of files, the words, and pytest's options."""
    total = hashlib.sha256(repr((sys.version, words)).encode())
    for path in [*paths, *root.glob("pyproject.toml")]:
        text = path.read_bytes() if path.exists() else b""
        total.update(f"{path.relative_to(root)} {len(text)} ".encode() + text)
    return total.hexdigest()[:24]


def _is_test(path: Path) -> bool:
    return path.name.startswith("test_")


def _measure_file(root: Path, package: Path, file: str, marks: str, scratch: Path) -> str:
    coverage = Coverage(data_file=None, config_file=False, source=[str(package)])
    plugin = Measuring(coverage, package)
    coverage.start()
    code = run_pytest(root, scratch, ["-m", marks, file], plugin)
    coverage.stop()
    if code > 1 and code != pytest.ExitCode.NO_TESTS_COLLECTED:
        raise RuntimeError(f"pytest ended with {code}; {sorted(plugin.bad)}")
    lines = _lines(coverage.get_data(), root)
    lines.pop("", None)  # at import
    files = sorted({name for ran in lines.values() for name in ran})
    shared = lines.pop(WHOLE_FILE, {})
    tests = {
        node: {"seconds": round(seconds, 4), "lines": _joined(lines.get(node, {}), shared)}
        for node, seconds in plugin.seconds.items()
        if node not in plugin.bad | plugin.skipped
    }
    found = {
        "files": files,
        "sources": digest(root, [root / name for name in files]),
        "collecting": round(plugin.collecting, 3),
        "bad": sorted(plugin.bad),
        "tests": tests,
    }
    return json.dumps(found)


def _lines(data: CoverageData, root: Path) -> dict[str, dict[str, int]]:
    """Return for every context, and every file in it, the lines that ran, as bits."""
    found: dict[str, dict[str, int]] = {}
    for path in data.measured_files():
        file = str(Path(path).relative_to(root))
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                bits = found.setdefault(context, {})
                bits[file] = bits.get(file, 0) | 1 << line
    return found


def _joined(a: dict[str, int], b: dict[str, int]) -> dict[str, str]:
    return {file: f"{a.get(file, 0) | b.get(file, 0):x}" for file in a | b}
