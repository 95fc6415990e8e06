"""From what was measured to the tests worth running for one mutant, in a worthwhile order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from support.mutants.mutant import Mutant

FIRST_STAGE_SECONDS = 8.0


@dataclass(frozen=True)
class Test:
    """A test that passes.

    Args:
        node: its id.
        file: the test file.
        seconds: how long it takes.
        lines: for each file of the package the lines that it runs, as bits.
    """

    __test__ = False

    node: str
    file: str
    seconds: float
    lines: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """The tests for one mutant.

    Args:
        stages: ids of the tests, in order; a stage is run if the one before it killed nothing.
        seconds: how long each stage takes.
        covering: how many tests run the line, planned or not.
    """

    stages: tuple[tuple[str, ...], ...]
    seconds: tuple[float, ...]
    covering: int

    @property
    def tests(self) -> int:
        """How many tests there are in all stages."""
        return sum(map(len, self.stages))


class Covering:
    """Finds tests by line.

    Args:
        measured: for each test file its tests, as `measuring.measure` returns them.
    """

    def __init__(self, measured: Mapping[str, Any]) -> None:
        self._collecting = {file: found["collecting"] for file, found in measured.items()}
        self.bad = [node for found in measured.values() for node in found["bad"]]
        self.tests = [
            Test(
                node,
                file,
                test["seconds"],
                {name: int(bits, 16) for name, bits in test["lines"].items()},
            )
            for file, found in measured.items()
            for node, test in found["tests"].items()
        ]

    def plan(self, mutant: Mutant, budget: float) -> Plan:
        """Choose the tests: those of the file's own test file first, then the fastest.

        What runs at import is left to every test that runs anything of the file.

        Args:
            mutant: the mutant.
            budget: how many seconds of tests to plan.

        Returns:
            The plan; the first stage is short, as most mutants end there.
        """
        wanted = sum(1 << line for line in mutant.lines)
        of_file = [test for test in self.tests if test.lines.get(mutant.file)]
        running = [test for test in of_file if test.lines[mutant.file] & wanted]
        covering = of_file if mutant.is_imported else running or of_file
        own = {mutant.file, mirror(mutant.file)}
        covering.sort(key=lambda test: (test.file not in own, test.seconds, test.node))
        stages: list[list[str]] = [[], []]
        seconds, total, files = [0.0, 0.0], 0.0, set()
        for test in covering:
            cost = test.seconds + (0 if test.file in files else self._collecting[test.file])
            if total + cost > budget and total:
                continue
            stage = int(total > FIRST_STAGE_SECONDS)
            files.add(test.file)
            total += cost
            stages[stage].append(test.node)
            seconds[stage] += cost
        used = [index for index, stage in enumerate(stages) if stage]
        return Plan(
            tuple(tuple(stages[index]) for index in used),
            tuple(seconds[index] for index in used),
            len(covering),
        )


def mirror(file: str) -> str:
    """Return where the tests of a file are: a/b/c.py has tests/b/test_c.py."""
    path = PurePath(file)
    return str(PurePath("tests", *path.parts[1:-1], f"test_{path.name}"))
