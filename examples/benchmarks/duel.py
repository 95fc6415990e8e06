"""Accuracy after a cut, without and with compensation, and after recovery, beside others'.

    python examples/benchmarks/duel.py --data cifar10_part.npz --folder runs/duel
    python examples/benchmarks/duel.py --data data/ --folder runs/duel --problems vit --resume

For every problem and seed one dense network is trained, once, and kept in the folder; every method
starts from it, is cut to the same MACs, and trains for the same epochs by the same recipe: 5, 20
and 100 percent of the dense ones. Epochs in which a method trains before its cut count. Reported
is the score on the test data after the **last** epoch, as mean and standard deviation over the
seeds. Controls: random pruning, and the dense network trained for as long.

Scores are accuracies. Images are those of `--data`, but for `lstm` and `digits`:
a `.npz` of arrays, or the folder of torchvision's CIFAR-10, which is downloaded there. Rivals need
`pip install --no-deps torch-pruning`; what fails is a row that says why. Rows go to `rows.csv` as
soon as they are done; with `--resume` those that are there are kept, so it can be run in pieces.
`table.md` is written at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from dueling.case import Case
from dueling.methods import DENSE, METHODS
from dueling.problems import PROBLEMS
from dueling.running import STAGES, Row, Run
from dueling.table import append_row, read_rows, summarise
from dueling.training import dense, quiet


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="of the images")
    parser.add_argument("--folder", type=Path, default=Path("runs/duel"), help="of all results")
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--speedups", nargs="+", type=float, default=[2.1, 2.6, 4.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--epochs", type=int, help="of the dense networks, in place of their own")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / "rows.csv"
    if not arguments.resume:
        file.unlink(missing_ok=True)
    rows = read_rows(file)
    quiet()
    for problem in (PROBLEMS[name] for name in arguments.problems):
        problem = replace(problem, epochs=arguments.epochs or problem.epochs)
        data = problem.load(arguments.data)
        for seed in arguments.seeds:
            network = dense(problem, data, seed, arguments.folder)
            for speedup, name in product(arguments.speedups, arguments.methods):
                # The dense network is the same at every speed-up.
                case = Case(problem, network, data, 1.0 if name == DENSE else speedup, seed)
                for row in _missing(case, name, arguments.stages, rows):
                    rows.append(row)
                    append_row(file, row)
                    print(*row.key, row.score, row.note, f"{row.seconds} s", flush=True)
    table = summarise(rows)
    (arguments.folder / "table.md").write_text(table + "\n")
    print(table)


def _missing(case: Case, name: str, stages: Sequence[str], rows: Sequence[Row]) -> Iterator[Row]:
    """Run the stages that have no row yet, at the sparsity that earlier rows were run at."""
    mine = (case.problem.name, name, case.speedup, case.seed)
    done = {row.stage: row for row in rows if row.key[:4] == mine}
    found = next((row.sparsity for row in done.values() if row.sparsity is not None), None)
    missing = [stage for stage in stages if stage not in done]
    return Run(case, name, METHODS[name], found).stages(missing)


if __name__ == "__main__":
    main()
