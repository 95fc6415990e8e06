"""What pruning costs in a training step, as ratios to the plain step, measured in turns.

    python examples/benchmarks/step_cost.py

The worst case is a small batch: pruning works on weights, whatever the batch, and the plain step
does less beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
import torchvision

from lightning_prune.display.tables import format_table
from lightning_prune.pruning import BasePruner, Recipe, find_prunable


def make_step(
    batch_size: int, size: int, sparsity: float | None, scored: bool, device: str
) -> Callable[[], None]:
    """Return one training step of ResNet-18.

    Args:
        batch_size: images in a batch.
        size: height and width of an image.
        sparsity: what is masked after every step; None for a plain step.
        scored: whether gradients are accumulated, as between two updates of the masks.
        device: where.
    """
    torch.manual_seed(0)
    model = torchvision.models.resnet18().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch_size, 3, size, size, device=device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    pruner = None
    if sparsity is not None:
        recipe = Recipe(sparsity)
        pruner = BasePruner(model, recipe, find_prunable(recipe, model, images))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        if pruner is not None:
            if scored:
                pruner.accumulate()
            pruner.masks.apply_to_gradients()
        optimizer.step()
        if pruner is not None:
            pruner.masks.apply()

    if pruner is not None:  # the first update needs gradients
        F.cross_entropy(model(images), labels).backward()
        pruner.accumulate()
        pruner.update(sparsity or 0.0)
    return step


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-sizes", nargs="*", type=int, default=[16, 64])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    rows = []
    for batch_size in arguments.batch_sizes:
        made = partial(make_step, batch_size, arguments.size, device=arguments.device)
        steps = {
            "plain": made(None, False),
            "masked": made(0.5, False),
            "masked and scored": made(0.5, True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(arguments.rounds + 2):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                if arguments.device != "cpu":
                    torch.accelerator.synchronize()
                if turn > 1:
                    seconds[name].append(time.perf_counter() - started)
        plain = statistics.median(seconds["plain"])
        rows += [
            [
                f"{name}, batch {batch_size}",
                f"{1e3 * statistics.median(values):.1f} ms",
                f"{statistics.median(values) / plain:.2f}",
            ]
            for name, values in seconds.items()
        ]
    print(
        f"ResNet-18, {arguments.size} px, torch {torch.__version__}, {arguments.device}, "
        f"{torch.get_num_threads()} threads"
    )
    print(format_table(["step", "p50", "ratio"], rows))


if __name__ == "__main__":
    main()
