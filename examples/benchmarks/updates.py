"""One update over many single weights: seconds, and the memory that it takes beside the model.

    python examples/benchmarks/updates.py

Linear layers of ten million weights each lose nine tenths by magnitude, ranked globally: scores,
threshold, masks, zeros. Beside it what one would write by hand: all scores joined, their threshold
by `torch.kthvalue` or by sorting, and the weights below it zeroed. Every figure comes from its own
process; memory is the peak of its resident set less that before the update.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.display.tables import format_count, format_table

SPARSITY = 0.9
LAYER = (2500, 4000)


def ours(model: nn.Module) -> None:
    """Prune with this package."""
    lp.prune(model, sparsity=SPARSITY, criterion=lp.Magnitude(), granularity=lp.Weight())


def by_kthvalue(model: nn.Module) -> None:
    """Prune by hand, with `torch.kthvalue`."""
    scores = joined(model)
    zero_up_to(scores.kthvalue(round(SPARSITY * scores.numel())).values, model)


def by_sort(model: nn.Module) -> None:
    """Prune by hand, by sorting."""
    scores = joined(model)
    zero_up_to(scores.sort().values[round(SPARSITY * scores.numel()) - 1], model)


def joined(model: nn.Module) -> torch.Tensor:
    """Return all scores as one vector."""
    return torch.cat([p.detach().abs().flatten() for p in model.parameters()])


def zero_up_to(threshold: torch.Tensor, model: nn.Module) -> None:
    """Zero the weights whose scores are not above a threshold."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(parameter.abs() > threshold)


WAYS: dict[str, Callable[[nn.Module], None]] = {
    "lightning_prune": ours,
    "torch.kthvalue": by_kthvalue,
    "sort": by_sort,
}


def measure(way: str, weights: int) -> dict[str, float]:
    """Prune once.

    Args:
        way: a key of `WAYS`.
        weights: how many there are.

    Returns:
        Seconds, bytes for each weight beside the model, and the sparsity.
    """
    torch.manual_seed(0)
    size = LAYER[0] * LAYER[1]
    shapes = [LAYER] * (weights // size) or [(weights // 1000, 1000)]
    model = nn.Sequential(*[nn.Linear(i, o, bias=False) for i, o in shapes])
    WAYS[way](nn.Linear(100, 10, bias=False))  # what is loaded at the first call
    before, started_s = peak_bytes(), time.perf_counter()
    WAYS[way](model)
    seconds = time.perf_counter() - started_s
    peak = peak_bytes()
    zeros = sum(int((p == 0).sum()) for p in model.parameters())
    total = sum(p.numel() for p in model.parameters())
    extra = (peak - before) / total
    return {"seconds": seconds, "bytes": extra, "sparsity": zeros / total}


def peak_bytes() -> int:
    """Return the peak of this process's resident set."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="*", type=float, default=[1e6, 1e7, 1e8])
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--one", nargs=2, metavar=("WAY", "WEIGHTS"), help="measure in this process"
    )
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    rows = []
    for weights in arguments.weights:
        for way in arguments.ways:
            command = [sys.executable, __file__, "--one", way, str(int(weights))]
            found = [
                json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                for _ in range(arguments.repeats)
            ]
            seconds, extra = ([one[key] for one in found] for key in ("seconds", "bytes"))
            rows.append(
                [
                    format_count(int(weights)),
                    way,
                    f"{min(seconds):.2f}-{max(seconds):.2f}",
                    f"{max(extra):.1f}",
                    f"{found[0]['sparsity']:.4f}",
                ]
            )
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(format_table(["weights", "way", "seconds", "bytes a weight", "sparsity"], rows))


if __name__ == "__main__":
    main()
