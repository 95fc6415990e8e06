"""What a compact model computes in train mode is held to what the masked one computed there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_prune.compaction.verification.training import Training
from lightning_prune.coupling import couple
from lightning_prune.errors import VerificationError


class Net(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.last, self.head = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 2)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Any:
        x = F.dropout(self.first(x), self.dropout, self.training)
        return (self.last(x), self.head(x)) if self.training else self.last(x)


def training(model: nn.Module) -> Training:
    return Training(model, couple(model, torch.randn(4, 5)).traces)


def test_the_same_model_holds():
    model = Net()
    training(model).check(model)


def test_an_output_of_training_alone_is_compared():
    model = Net()
    held = training(model)
    model.head.weight.data[0] *= 1.01
    with pytest.raises(VerificationError, match="outputs differ in train mode"):
        held.check(model)


def test_a_model_that_does_not_run_any_more_is_told():
    model = Net()
    held = training(model)
    model.head.weight.data = torch.zeros(2, 7)
    with pytest.raises(VerificationError, match="in train mode, mat1 and mat2"):
        held.check(model)


def test_what_is_random_is_not_compared():
    model = Net(dropout=0.5)
    held = training(model)
    model.head.weight.data[0] *= 1.01
    held.check(model)


class EvalOnly(Net):
    def forward(self, x: Tensor) -> Any:
        if self.training:
            raise ValueError("targets are missing")
        return self.last(self.first(x))


def test_a_model_that_does_not_run_in_train_mode_is_not_compared():
    model = EvalOnly()
    training(model).check(model)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_values_that_are_no_numbers_are_compared_by_their_place(value):
    model = Net()
    model.head.bias.data[0] = value
    held = training(model)
    held.check(model)
    model.head.bias.data[0] = 0.0
    with pytest.raises(VerificationError, match="outputs differ"):
        held.check(model)
