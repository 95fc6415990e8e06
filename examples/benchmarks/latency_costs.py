"""Do measured cost curves choose better units than prices? The same milliseconds, several choices.

    python examples/benchmarks/latency_costs.py

Networks that were trained on the digits are pruned in one shot for a speed-up. ``prices`` is how
the package chooses: the time of a layer is shared among its elements, and units go by their scores
relative to their groups (``relative scores``) or by their scores per millisecond. ``curves`` are
the milliseconds of every group, measured at a few widths. Over them a knapsack of scores is solved:
by a sweep over the price of a millisecond (Lagrangian), or exactly (milp). On top of each, a level
is bisected until the compact twin measures as asked. All keep multiples of 8 units and score by
Taylor on eight batches.

The speed-up is that of the verified compact model, measured in turns with the dense one. The losses
are those of the test images, with batch norms estimated anew, and after a little training. The time
of one choice stands in the last column, that of measuring the curves of a network in its first row.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from costing.nets import NETS, Net, Trained, fit, test_loss, trained
from costing.problem import KeepAt, Problem
from latency_targets import compare

from lightning_prune.errors import TargetError

_STEPS = 7
_CLOSE = 0.015


def closest(problem: Problem, keep_at: KeepAt, asked: float) -> list[torch.Tensor]:
    """Return the units whose compact twin comes closest to a speed-up, by bisecting the level."""
    low, high, tries = 0.0, 1.0, []
    for _ in range(_STEPS):
        level = (low + high) / 2
        try:
            kept = keep_at(level)
        except TargetError:  # not as much can go in multiples of 8
            high = level
            continue
        ratio = problem.twins.measured(kept).speedup.ratio
        tries.append((abs(ratio / asked - 1), kept))
        if tries[-1][0] <= _CLOSE:
            break
        low, high = (level, high) if ratio < asked else (low, level)
    return min(tries, key=lambda one: one[0])[1]


def attempt(problem: Problem, data: Trained, net: Net, way: str, asked: float) -> list[str]:
    """Return the cells of a row: speed-up, scores kept, losses and the time of a choice."""
    keep_at = problem.ways[way]
    kept = closest(problem, keep_at, asked)
    started_s = time.perf_counter()
    keep_at(0.5)
    choice_ms = 1e3 * (time.perf_counter() - started_s)
    small = problem.compact(kept)
    speedup = compare(data.model, small, data.example, "eager", copies=3)
    cut = test_loss(small, data)
    torch.manual_seed(0)
    fit(small, data.train[: net.recovery], net.recovery_epochs, net.learning_rate / 4)
    losses = [f"{loss:.3f}" for loss in (cut, test_loss(small, data))]
    return [str(speedup), f"{problem.score(kept):.3f}", *losses, f"{choice_ms:.0f} ms"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="*", choices=NETS, default=list(NETS))
    parser.add_argument("--speedups", nargs="*", type=float, default=[1.5, 2.0])
    parser.add_argument("--ways", nargs="*", help="all that are named when left out")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where trained networks are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| network | asked | choice by | speed-up | scores kept | loss, trained on | choice |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.nets:
        net = NETS[name]
        data = trained(net, arguments.folder)
        problem = Problem(data)
        print(f"| {name} | dense | | | | {test_loss(data.model, data):.3f} | ", end="")
        print(f"table of {problem.groups} groups: {problem.table_s:.0f} s |", flush=True)
        for asked in arguments.speedups:
            for _ in range(arguments.repeats):
                for way in arguments.ways or problem.ways:
                    speedup, scores, cut, later, choice = attempt(problem, data, net, way, asked)
                    cells = [name, f"{asked:g}", way, speedup, scores, f"{cut}, {later}", choice]
                    print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
