"""Change the package in one place at a time and see whether a test fails.

    PYTHONPATH=tests python -m support.mutation --sample 200 --seed 0

Nothing on disk is changed: each mutant is imported, in memory, in a process forked from one that
has imported torch and lightning. It is met by the tests that run the changed line, its own test
file first, then the fastest; the first that fails ends it. What survives is either a gap in the
tests, or a change that makes no difference.

What only slow tests, or processes that tests start, run counts as not run: see ``--marks``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from support.mutants.covering import Covering, Plan
from support.mutants.forked import Ended, Pool, Task
from support.mutants.measuring import digest, measure, python_files
from support.mutants.mutant import Mutant, mutants_of
from support.mutants.running import Selected, Substitute, module_name, run_pytest
from support.mutants.verdicts import SURVIVED, Results, Verdict, read_verdicts, summary

MODULES = [
    "lightning_prune/units/**/*.py",
    "lightning_prune/pruning/**/*.py",
    "lightning_prune/callbacks/pruning/**/*.py",
    "lightning_prune/compaction/**/*.py",
]
PRELOAD = (
    "torch torch._dynamo torchvision lightning torchmetrics transformers safetensors.torch "
    "scipy.sparse.csgraph"
).split()
NO_TESTS = 5


@dataclass(frozen=True)
class Met:
    """A mutant, its plan, and which stage of it is met."""

    mutant: Mutant
    plan: Plan
    stage: int = 0


class Trial:
    """Lets mutants meet their tests.

    Args:
        root: of the project.
        pool: where to run.
        timeout: how many seconds a stage may take at least.
    """

    def __init__(self, root: Path, pool: Pool[Met], timeout: float) -> None:
        self._root = root
        self._pool = pool
        self._timeout = timeout

    def run(self, plans: Sequence[Met], results: Results) -> None:
        """Write the verdict on each; survivors are shown as they come."""
        for met in plans:
            self._add(met)
        with tqdm(total=len(plans), desc="mutants", unit="mutant", disable=None) as bar:
            for ended in self._pool.results():
                verdict = self._verdict(ended)
                if verdict is None:
                    continue
                results.add(verdict)
                bar.write(str(verdict))
                bar.update()

    def _add(self, met: Met) -> None:
        work = functools.partial(_meet, self._root, met)
        # Under a mutant everything may be slower, and the machine may be busy.
        seconds = max(self._timeout, 5 * sum(met.plan.seconds[met.stage : met.stage + 1]))
        self._pool.waiting.append(Task(met, work, seconds))

    def _verdict(self, ended: Ended[Met]) -> Verdict | None:
        met = ended.subject
        name = met.mutant.name
        if ended.problem == "timeout":
            return Verdict(name, "timeout")
        if ended.result is None:
            return Verdict(name, "killed by the end of the process")
        killer = json.loads(ended.result)
        if killer is not None:
            return Verdict(name, f"killed by {killer}")
        if met.stage + 1 < len(met.plan.stages):
            self._add(Met(met.mutant, met.plan, met.stage + 1))
            self._pool.waiting.rotate(1)  # so that verdicts come in order, more or less
            return None
        tests = f"{met.plan.tests} of {met.plan.covering} tests that run it"
        return Verdict(name, f"{SURVIVED} {tests}")


def _meet(root: Path, met: Met, scratch: Path) -> str:
    """Run one stage in this process; return the name of what failed as JSON, or null."""
    if not met.plan.stages:
        return "null"
    nodes, mutant = met.plan.stages[met.stage], met.mutant
    Substitute(module_name(mutant.file), root / mutant.file, mutant.source).install()
    plugin = Selected(nodes)
    files = list(dict.fromkeys(node.partition("::")[0] for node in nodes))
    code = run_pytest(root, scratch, ["-x", *files], plugin)
    if plugin.failed is None and code not in {0, NO_TESTS}:
        return json.dumps(f"pytest, which ended with {code}")
    return json.dumps(plugin.failed)


def find_mutants(root: Path, modules: Sequence[str]) -> list[Mutant]:
    """Return all mutants of the files that match a glob, in a fixed order."""
    files = sorted({str(p.relative_to(root)) for glob in modules for p in root.glob(glob)})
    if not files:
        raise SystemExit(f"Expected `--modules` to match files, but got none for {modules}.")
    bar = tqdm(files, desc="reading", unit="file", disable=None)
    return [mutant for file in bar for mutant in mutants_of(root, file)]


def find_tests(root: Path, package: str) -> list[str]:
    """Return the test files, and the files of the package that have doctests."""
    tests = [p for p in python_files(root / "tests") if p.name.startswith("test_")]
    doctests = [p for p in python_files(root / package) if ">>>" in p.read_text()]
    return [str(path.relative_to(root)) for path in tests + doctests]


def choose(mutants: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    """Return the mutants asked for: a sample, or what survived an earlier run."""
    if options.again is None:
        count = min(options.sample, len(mutants))
        return random.Random(options.seed).sample(mutants, count)
    # The lines may have moved since.
    alive = {_placeless(v.name) for v in read_verdicts(options.again) if v.survived}
    return [mutant for mutant in mutants if _placeless(mutant.name) in alive]


def _placeless(name: str) -> str:
    place, _, change = name.partition(" ")
    return f"{place.partition(':')[0]} {change}"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    root: Path = options.root.resolve()
    package = options.modules[0].partition("/")[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in options.preload:
        importlib.import_module(name)
    if package in sys.modules:
        raise SystemExit(f"Expected nothing to import `{package}`, but something does.")
    files = find_tests(root, package)
    cache = options.cache or root / "build" / "mutation"
    pool: Pool[str] = Pool(options.jobs, options.memory)
    covering = Covering(measure(root, package, files, options.marks, cache, pool))
    if covering.bad:
        print(f"{len(covering.bad)} tests do not pass and are left out: {covering.bad}")
    mutants = choose(find_mutants(root, options.modules), options)
    everything = python_files(root / package) + python_files(root / "tests")
    title = digest(root, everything, options.marks, str(options.budget))
    results = Results(options.output or cache / "results.txt", title)
    left = [mutant for mutant in mutants if mutant.name not in results.verdicts]
    plans = [Met(mutant, covering.plan(mutant, options.budget)) for mutant in left]
    Trial(root, Pool(options.jobs, options.memory), options.timeout).run(plans, results)
    print(summary(mutants, results.verdicts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m support.mutation",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--sample", type=int, default=100, help="how many mutants, of all that there are")
    add("--seed", type=int, default=0, help="which sample")
    add("--again", type=Path, help="a file of results: what survived there, instead of a sample")
    add("--modules", nargs="+", metavar="GLOB", default=MODULES, help="files to change")
    add("--output", type=Path, help="the file of results; goes on with what is in it")
    add("--jobs", type=int, default=1, help="how many processes")
    add("--budget", type=float, default=120.0, help="seconds of tests that a mutant meets")
    add("--timeout", type=float, default=120.0, help="seconds after which a mutant hangs, at least")
    add("--memory", type=float, default=6.0, help="GiB of data that a process may hold")
    add("--marks", default="not slow", help="which tests, as for pytest -m")
    add("--preload", nargs="*", default=PRELOAD, help="what every process has imported")
    add("--cache", type=Path, help="folder of what tests run which lines")
    add("--root", type=Path, default=Path(), help="the checkout")
    return parser


if __name__ == "__main__":
    main()
