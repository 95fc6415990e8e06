"""Centred squares are found where their mean alone is used, and nowhere else."""

import pytest
import torch
from support.nets import Net
from torch import Tensor

from lightning_prune.coupling.centred import centred_squares
from lightning_prune.coupling.modes import record_modes
from lightning_prune.modules.inputs import ExampleInputs


def centred(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


NETS = {
    "pow": lambda x: centred(x).pow(2).mean(1),
    "product": lambda x: (d := centred(x)).mul(d).mean([1]),
    "cube": lambda x: centred(x).pow(3).mean(1),
    "other dims": lambda x: centred(x).square().mean((1, 2)),
    "of another": lambda x: (2 * x - x.mean(1, keepdim=True)).square().mean(1),
    "not the same": lambda x: (centred(x) * x).mean(1),
    "sum": lambda x: centred(x).square().sum(1),
    "half": lambda x: torch.sub(x, x.mean(1, keepdim=True), alpha=0.5).square().mean(1),
    "median": lambda x: (x - x.median(1, keepdim=True).values).square().mean(1),
    "used twice": lambda x: (square := centred(x).square()).mean(1) + square.amax(1),
}


def found(kind: str) -> list[frozenset[int]]:
    inputs = ExampleInputs.of(torch.randn(2, 4, 3))
    graph = record_modes(Net(lambda m, x: NETS[kind](x)), [inputs])[0].graph
    return list(centred_squares(graph).values())


@pytest.mark.parametrize("kind", ["pow", "product"])
def test_the_mean_of_centred_squares_is_found(kind: str) -> None:
    assert found(kind) == [frozenset({1})]


@pytest.mark.parametrize("kind", [kind for kind in NETS if kind not in {"pow", "product"}])
def test_what_only_looks_like_one_is_not(kind: str) -> None:
    assert found(kind) == []
