"""Attack the promise that a file is data: damage compact files, and load them.

    python examples/benchmarks/fuzz_files.py --cases 10000
    python examples/benchmarks/fuzz_files.py --first 4711 --cases 1

Bits flip, files are cut off, tensors are swapped and renamed, plans name other methods, attributes,
classes and values; half of what is changed inside gets checksums that are right again. Each file
must be refused with a `ValueError` that leaves the model as it was, or load the very tensors that
were saved and compute the same. Each case follows from its number alone. The exit status is 1 if
any is wrong.

Checksums do not tell who wrote a file. Other weights, or another factor in a correction, under
right checksums are another honest file, which computes something else: such files are not cases.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from file_fuzzing.case import KINDS, Outcome, run
from tqdm import tqdm

_RESULTS = ("refused", "loaded the same", "wrong")


def main() -> int:
    """Run what the arguments ask for.

    Returns:
        1 if any case is wrong, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    outcomes: list[Outcome] = []
    numbers = range(arguments.first, arguments.first + arguments.cases)
    with TemporaryDirectory() as folder:
        for number in (progress := tqdm(numbers, smoothing=0)):
            outcomes.append(run(number, Path(folder)))
            if outcomes[-1].result == "wrong":
                progress.write(_line(outcomes[-1]))
    print(summary(outcomes))
    if len(outcomes) == 1:
        print(_line(outcomes[0]))
    return int(any(outcome.result == "wrong" for outcome in outcomes))


def summary(outcomes: Iterable[Outcome]) -> str:
    """Return how many cases of each kind ended how, as a table.

    Args:
        outcomes: of all cases.

    Returns:
        One row for each kind, and one for all.
    """
    counts = Counter((kind, o.result) for o in outcomes for kind in (o.kind, "all"))
    lines = ["| damage | cases | " + " | ".join(_RESULTS) + " |", "|---" * 5 + "|"]
    for kind in (*KINDS, "all"):
        row = [counts[kind, result] for result in _RESULTS]
        lines.append(f"| {kind} | {sum(row)} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def _line(outcome: Outcome) -> str:
    return (
        f"{outcome.result}: --first {outcome.number} --cases 1: {outcome.kind}, {outcome.change}: "
        f"{outcome.message[:300]}"
    )


if __name__ == "__main__":
    sys.exit(main())
