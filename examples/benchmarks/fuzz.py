"""Attack the promise that a compact model computes what the masked one does, for every input.

    python examples/benchmarks/fuzz.py --cases 10000 --jobs 2
    python examples/benchmarks/fuzz.py --first 4711 --cases 1

Random small nets are damaged at random (rows, columns, units, single weights are zeroed, by hand
or by pruning) and compacted on an example. Masked and compact are then compared on inputs that
compaction never saw, in eval and in train mode. Compaction may refuse, but then it must leave the
model as it was. Each case follows from its number alone. The exit status is 1 if any is wrong.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, fields
from pathlib import Path

import torch
from fuzzing.case import Outcome, kind_of, run
from fuzzing.nets import KINDS
from tqdm import tqdm

_PER_SEED = 10_000_000


def main() -> int:
    """Run what the arguments ask for.

    Returns:
        1 if any case is wrong, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="other cases: numbers from elsewhere")
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    parser.add_argument("--first", type=int, help="number of the first case; overrides the seed")
    parser.add_argument("--only", choices=list(KINDS), help="only nets of this kind")
    parser.add_argument("--output", type=Path, help="write what is not right to this table (.csv)")
    arguments = parser.parse_args()
    first = arguments.seed * _PER_SEED if arguments.first is None else arguments.first
    numbers = _numbers(first, arguments.cases, arguments.only)
    outcomes: list[Outcome] = []
    progress = tqdm(_outcomes(numbers, arguments.jobs), total=len(numbers), smoothing=0)
    for outcome in progress:
        outcomes.append(outcome)
        if outcome.result == "wrong":
            progress.write(_line(outcome))
    if arguments.output is not None:
        _write(
            arguments.output,
            sorted(
                (o for o in outcomes if o.result in ("wrong", "refused")), key=lambda o: o.number
            ),
        )
    print(summary(outcomes))
    return int(any(outcome.result == "wrong" for outcome in outcomes))


def _numbers(first: int, count: int, only: str | None) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        if only is None or kind_of(first) == only:
            found.append(first)
        first += 1
    return found


def _outcomes(numbers: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """Yield what becomes of each case; one that kills its process is wrong."""
    waiting = list(numbers)
    while waiting:
        for outcome in _until_a_process_dies(waiting, jobs):
            waiting.remove(outcome.number)
            yield outcome
        for number in waiting[: 2 * jobs + 2]:  # those that had begun, or were about to
            alone = list(_until_a_process_dies([number], 1))
            waiting.remove(number)
            died = Outcome(number, kind_of(number), result="wrong", message="the process died")
            yield alone[0] if alone else died


def _until_a_process_dies(numbers: Sequence[int], jobs: int) -> Iterator[Outcome]:
    with ProcessPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(run, number) for number in numbers]
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenProcessPool):
                return
            yield future.result()


def summary(outcomes: Iterable[Outcome]) -> str:
    """Return how many cases of each kind ended how, as a table.

    Args:
        outcomes: of all cases.

    Returns:
        One row for each kind, and one for all.
    """
    results = ("removed", "nothing to remove", "refused", "wrong")
    counts = Counter((kind, o.result) for o in outcomes for kind in (o.kind, "all"))
    lines = ["| kind | cases | " + " | ".join(results) + " |", "|---" * 6 + "|"]
    for kind in [*(k for k in KINDS if any((k, r) in counts for r in results)), "all"]:
        row = [counts[kind, result] for result in results]
        lines.append(f"| {kind} | {sum(row)} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def _line(outcome: Outcome) -> str:
    found = f"error {outcome.error:.1e}" if outcome.error else outcome.message[:300]
    return (
        f"wrong: --first {outcome.number} --cases 1: {outcome.kind}, {outcome.damage}, "
        f"{outcome.dtype}, {outcome.where}: {found}"
    )


def _write(path: Path, outcomes: Iterable[Outcome]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
        writer.writeheader()
        writer.writerows(map(asdict, outcomes))


if __name__ == "__main__":
    sys.exit(main())
