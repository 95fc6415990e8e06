"""How much of the multiply-adds that are gone is gained in time? Widths, batches and devices.

    python examples/benchmarks/speedup.py --batch-sizes 1 64

A fraction of the channels of every layer goes by magnitude, the model is compacted and measured in
turns with the dense one. ``kept of the ratio`` is the measured speed-up over the ratio of
multiply-adds: 1 = all of it is gained. With ``round_to`` every layer keeps a multiple of so many
channels, which kernels fill.
"""

from __future__ import annotations

import argparse
import copy
from itertools import product

import torch
import torchvision

import lightning_prune as lp
from lightning_prune.display.tables import format_table
from lightning_prune.measure import count_macs
from lightning_prune.measure.latency import measure_in_turns


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["resnet18", "vgg11_bn"])
    parser.add_argument("--sparsities", nargs="*", type=float, default=[0.5])
    parser.add_argument("--round-to", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--batch-sizes", nargs="*", type=int, default=[1, 64])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="*", default=["float32"])
    parser.add_argument("--backend", choices=["eager", "compile"], default="eager")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    arguments = parser.parse_args()
    place = arguments.device
    if place == "cuda":
        place = torch.cuda.get_device_name()
        torch.backends.cudnn.benchmark = True  # the fastest algorithm for each of both
    print(
        f"torch {torch.__version__}, {place}, {torch.get_num_threads()} threads, "
        f"{arguments.backend}, {arguments.size} px"
    )
    rows = []
    for name in arguments.models:
        torch.manual_seed(0)
        dense = torchvision.models.get_model(name, weights=None).to(arguments.device)
        x = torch.randn(2, 3, arguments.size, arguments.size, device=arguments.device)
        for sparsity in arguments.sparsities:
            for round_to in arguments.round_to:
                small = copy.deepcopy(dense)
                lp.prune(
                    small,
                    x,
                    sparsity=sparsity,
                    of="units",
                    criterion=lp.Magnitude(),
                    granularity=lp.Channel(round_to=round_to),
                    allocation=lp.Uniform(),
                )
                lp.compact(small, x, latency=False)
                ratio = count_macs(dense, x) / count_macs(small, x)
                for dtype, batch_size in product(arguments.dtypes, arguments.batch_sizes):
                    both = [
                        copy.deepcopy(m).eval().to(getattr(torch, dtype)) for m in (dense, small)
                    ]
                    turns = measure_in_turns(
                        both,
                        x,
                        batch_size=batch_size,
                        backend=arguments.backend,
                        max_seconds=arguments.seconds,
                    )
                    speedup = turns.speedup()
                    rows.append(
                        [
                            name,
                            dtype,
                            f"{sparsity:g}",
                            f"{round_to}",
                            f"{batch_size}",
                            f"{turns.latencies[0].p50_ms:.2f}",
                            f"{ratio:.2f}",
                            str(speedup),
                            f"{speedup.ratio / ratio:.2f}",
                        ]
                    )
    head = [
        "model",
        "type",
        "channels gone",
        "round_to",
        "batch",
        "dense ms",
        "MACs ratio",
        "measured",
    ]
    print(format_table([*head, "kept of the ratio"], rows))


if __name__ == "__main__":
    main()
