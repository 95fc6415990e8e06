"""What became of each mutant: rows of a file that a later run goes on with, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from support.mutants.mutant import Mutant

SURVIVED = "SURVIVED"
SEPARATOR = "  "


@dataclass(frozen=True)
class Verdict:
    """A mutant's name, and its fate: killed by a test, ``timeout``, or that it survived."""

    name: str
    fate: str

    @property
    def survived(self) -> bool:
        return self.fate.startswith(SURVIVED)

    @classmethod
    def parse(cls, row: str) -> Verdict:
        """Return what a row says; raise a ValueError if it is none."""
        for mark in ("killed by ", "timeout", SURVIVED):
            name, found, rest = row.rstrip("\n").rpartition(SEPARATOR + mark)
            if found:
                return cls(name, mark + rest)
        raise ValueError(f"Expected a row of results, but got {row!r}.")

    @override
    def __str__(self) -> str:
        return f"{self.name}{SEPARATOR}{self.fate}"


class Results:
    """A file of verdicts under a title, written as they come.

    Args:
        path: of the file; its verdicts are taken over if it has the same title.
        title: the state of the project that they are about.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self.verdicts: dict[str, Verdict] = {}
        if path.exists() and path.read_text().startswith(f"# {title}\n"):
            self.verdicts = {verdict.name: verdict for verdict in read_verdicts(path)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{row}\n" for row in (f"# {title}", *self.verdicts.values())))

    def add(self, verdict: Verdict) -> None:
        self.verdicts[verdict.name] = verdict
        with self._path.open("a") as file:
            file.write(f"{verdict}\n")


def read_verdicts(path: Path) -> list[Verdict]:
    """Return the verdicts in a file, but for a last row that was not finished."""
    rows = path.read_text().splitlines(keepends=True)
    return [Verdict.parse(row) for row in rows if row[0] not in "#\n" and row[-1] == "\n"]


def summary(mutants: Sequence[Mutant], verdicts: dict[str, Verdict]) -> str:
    """Return the survivors as diffs, and for each file and operator how many were killed."""
    done = [mutant for mutant in mutants if mutant.name in verdicts]
    alive = [mutant for mutant in done if verdicts[mutant.name].survived]
    files = _rates([m.file for m in done], [m.file for m in alive])
    operators = _rates([m.operator for m in done], [m.operator for m in alive])
    diffs = [f"# {verdicts[m.name].fate}: {m.operator}\n{m.diff}" for m in alive]
    late = sum(verdicts[mutant.name].fate == "timeout" for mutant in done)
    rate = 100 * (len(done) - len(alive)) / max(len(done), 1)
    total = f"{len(done) - len(alive)} of {len(done)} killed ({rate:.1f}%), {late} by timeout"
    return "\n".join([*diffs, files, operators, total])


def _rates(everything: Sequence[str], alive: Sequence[str]) -> str:
    found, left = Counter(everything), Counter(alive)
    rows = [(f"{count - left[name]}/{count}", name) for name, count in sorted(found.items())]
    return "".join(f"{rate:>9}  {name}\n" for rate, name in rows)
