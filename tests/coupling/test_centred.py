"""Centred squares are found where their mean alone is used, and nowhere else."""

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.coupling.centred import centred_squares
from lightning_prune.coupling.modes import record_modes
from lightning_prune.modules.inputs import ExampleInputs


class Net(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        match self.kind:
            case "pow":
                return (x - mean).pow(2).mean(1)
            case "product":
                d = x - mean
                return (d * d).mean([1])
            case "cube":
                return (x - mean).pow(3).mean(1)
            case "other dims":
                return (x - mean).square().mean((1, 2))
            case "of another":
                return (2 * x - mean).square().mean(1)
            case "not the same":
                return ((x - mean) * x).mean(1)
            case "sum":
                return (x - mean).square().sum(1)
            case "half":
                return torch.sub(x, mean, alpha=0.5).square().mean(1)
            case "median":
                return (x - x.median(1, keepdim=True).values).square().mean(1)
        square = (x - mean).square()
        return square.mean(1) + square.amax(1)  # used twice


def found(kind: str) -> list[frozenset[int]]:
    inputs = ExampleInputs.of(torch.randn(2, 4, 3))
    graph = record_modes(Net(kind), [inputs])[0].graph
    return list(centred_squares(graph).values())


@pytest.mark.parametrize("kind", ["pow", "product"])
def test_the_mean_of_centred_squares_is_found(kind: str) -> None:
    assert found(kind) == [frozenset({1})]


OTHERS = ["cube", "other dims", "of another", "not the same", "sum", "half", "median", "twice"]


@pytest.mark.parametrize("kind", OTHERS)
def test_what_only_looks_like_one_is_not(kind: str) -> None:
    assert found(kind) == []
