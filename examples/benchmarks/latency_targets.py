"""Do models become as fast as asked? Speed-ups asked for, and those of the verified compact models.

    python examples/benchmarks/latency_targets.py

Each network, with random weights, is pruned for a speed-up in one shot, compacted and measured in
turns with the dense one, longer than the search has measured. A speed-up counts as obtained if its
ratio of p50s is within 5% of what was asked, or what was asked is within the 95% confidence
interval of the ratio; one that is refused names what could be reached. The table is in Markdown;
the exit status is 1 if a speed-up is neither obtained nor refused.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.errors import TargetError
from lightning_prune.measure.speedup import Speedup, speedup_in_places
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning.latency.clock import clock_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "digits"))
from model import DigitsClassifier

Built = tuple[nn.Module, Tensor]


class SequenceClassifier(nn.Module):
    """Two recurrent layers and a linear one on the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(32, 192, 2, batch_first=True)
        self.head = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, steps, 32]`` to logits ``[batch, 10]``."""
        states: Tensor = self.rnn(x)[0]
        logits: Tensor = self.head(states[:, -1])
        return logits


def digits() -> Built:
    """Return the network of the digits, at batch 64."""
    model = DigitsClassifier(latency_batch_size=64)
    x: Any = model.example_input_array
    return model, x


def resnet18() -> Built:
    """Return ResNet-18 at 64 pixels, batch 4."""
    return torchvision.models.resnet18(num_classes=10), torch.randn(4, 3, 64, 64)


def vit() -> Built:
    """Return a vision transformer of four layers at 32 pixels, batch 8."""
    model = torchvision.models.VisionTransformer(32, 4, 4, 6, 192, 768, num_classes=10)
    return model, torch.randn(8, 3, 32, 32)


def lstm() -> Built:
    """Return an LSTM on 40 steps, batch 8."""
    return SequenceClassifier(), torch.randn(8, 40, 32)


MODELS: dict[str, Callable[[], Built]] = {
    "digits": digits,
    "ResNet-18": resnet18,
    "ViT": vit,
    "LSTM": lstm,
}


def attempt(model: nn.Module, x: Tensor, asked: float, backend: Any, copies: int) -> str | Speedup:
    """Return the speed-up of the compact model, or why it was refused.

    Args:
        model: stays as it is.
        x: its input.
        asked: the speed-up.
        backend: what runs both models.
        copies: of both, that are measured in the end.
    """
    small = copy.deepcopy(model)
    try:
        lp.prune(
            small,
            x,
            sparsity=1 - 1 / asked,
            of="latency",
            backend=backend,
            criterion=lp.Magnitude(),
        )
    except TargetError as error:
        return "refused: " + str(error).split(" the model ", 1)[1].split(";")[0]
    lp.compact(small, x, latency=False)
    return compare(model, small, x, backend, copies)


def compare(model: nn.Module, small: nn.Module, x: Tensor, backend: Any, copies: int) -> Speedup:
    """Return the median of the ratios over several copies of both: memory matters.

    Its interval is a bootstrap over the copies, as turns of the same copies resemble each other.
    On one thread the times are those at work, as in the search.
    """
    clock, example, started_s = clock_of(backend), ExampleInputs.of(x), time.perf_counter()
    models: Sequence[nn.Module] = [model, small]
    places = [clock(models, example)]
    while len(places) <= copies:
        if time.perf_counter() - started_s > 60 and len(places) > 2:
            break
        models = clock.moved(models)
        places.append(clock(models, example))
    return speedup_in_places(places)


def is_obtained(speedup: Speedup, asked: float) -> bool:
    """Return whether a speed-up is what was asked for, as far as can be told."""
    return abs(speedup.ratio / asked - 1) <= 0.05 or speedup.low <= asked <= speedup.high


def main() -> int:
    """Print the table.

    Returns:
        1 if a speed-up was neither obtained nor refused, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--backends", nargs="*", default=["eager", "onnxruntime"])
    parser.add_argument("--speedups", nargs="*", type=float, default=[1.5, 2.0, 3.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--copies", type=int, default=8, help="that are measured in the end, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    missed = 0
    print("| model | runtime | asked | measured (95% interval), each repeat | obtained |")
    print("| --- | --- | --- | --- | --- |")
    for name in arguments.models:
        torch.manual_seed(0)
        model, x = MODELS[name]()
        for backend in arguments.backends:
            for asked in arguments.speedups:
                options = (model.eval(), x, asked, backend, arguments.copies)
                found = [attempt(*options) for _ in range(arguments.repeats)]
                measured = [one for one in found if isinstance(one, Speedup)]
                obtained = sum(is_obtained(one, asked) for one in measured)
                missed += len(measured) - obtained
                cells = [name, backend, f"{asked:g}", ", ".join(map(str, found))]
                print("|", " | ".join(cells), f"| {obtained} of {len(measured)} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
