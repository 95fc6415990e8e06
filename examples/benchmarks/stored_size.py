"""What sparse models take on disk, as fractions of the dense file.

    python examples/benchmarks/stored_size.py

ResNet-18 with random weights, normal or with heavy tails as trained weights have, is pruned by
magnitude in one shot, saved compressed, and loaded again: every tensor must be the same, bit for
bit. Beside that stand the dense file squeezed by gzip, and the entropy of the positions plus the
values as they are. The table is in Markdown; the exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import gzip
import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torchvision
from torch import Tensor, nn

import lightning_prune as lp

CASES: dict[str, tuple[bool, float, lp.Granularity]] = {
    "dense": (False, 0.0, lp.Weight()),
    "50%": (False, 0.5, lp.Weight()),
    "80%": (False, 0.8, lp.Weight()),
    "90%": (False, 0.9, lp.Weight()),
    "90%, heavy tails": (True, 0.9, lp.Weight()),
    "95%": (False, 0.95, lp.Weight()),
    "99%": (False, 0.99, lp.Weight()),
    "2:4": (False, 0.5, lp.NM(2, 4)),
    "1:4": (False, 0.75, lp.NM(1, 4)),
}


def build(heavy: bool) -> nn.Module:
    """Return ResNet-18 with random weights.

    Args:
        heavy: the weights follow Student's t with four degrees of freedom, not a normal one.
    """
    torch.manual_seed(0)
    model: nn.Module = torchvision.models.resnet18()
    chi2 = torch.distributions.Chi2(torch.tensor(4.0))
    for parameter in model.parameters() if heavy else ():
        if parameter.dim() > 1:
            parameter.data.div_(chi2.sample(parameter.shape).div(4).sqrt())
    return model


def row(name: str) -> list[str]:
    """Return what one case takes, as cells of the table.

    Args:
        name: of the case.

    Raises:
        RuntimeError: if what was loaded is not what was saved.
    """
    heavy, sparsity, granularity = CASES[name]
    model = build(heavy)
    if sparsity:
        x, criterion = torch.randn(1, 3, 64, 64), lp.Magnitude()
        lp.prune(model, x, sparsity=sparsity, criterion=criterion, granularity=granularity)
    with TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain", Path(folder) / "small"
        lp.save_compact(model, plain)
        lp.save_compact(model, small, compress=True)
        loaded = lp.load_compact(build(heavy), small)
        data = plain.read_bytes()
        sizes = [small.stat().st_size, len(gzip.compress(data)), bound(model)]
    expected, found = model.state_dict(), loaded.state_dict()
    if any(_bits(found[key]) != _bits(tensor) for key, tensor in expected.items()):
        raise RuntimeError(f"{name}: what was loaded is not what was saved")
    return [name, f"{len(data) / 1e6:.1f} MB", *(f"{size / len(data):.4f}" for size in sizes)]


def bound(model: nn.Module) -> float:
    """Return the bytes of all values that are not zero, and of the entropy of their positions."""
    total = 0.0
    for tensor in model.state_dict().values():
        size, kept = tensor.numel(), int(tensor.count_nonzero())
        shares = [share for share in (kept / size, 1 - kept / size) if share]
        total += kept * tensor.itemsize - size * sum(p * math.log2(p) for p in shares) / 8
    return total


def _bits(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)


def main() -> int:
    """Print the table.

    Returns:
        1 if a model was not loaded as it was saved, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), help="which")
    arguments = parser.parse_args()
    print("| zeros | dense file | compressed | gzip of dense | positions' entropy + values |")
    print("| --- | --- | --- | --- | --- |")
    for name in arguments.cases:
        try:
            print("|", " | ".join(row(name)), "|", flush=True)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
