import torch
from torch import nn

from lightning_prune.criteria import Taylor
from lightning_prune.criteria.evidence.unit_accumulator import UnitAccumulator


def test_units_are_squared_in_every_step_and_then_averaged():
    weight = nn.Parameter(torch.ones(2, 2))

    def fold(scores):
        return [scores[0].sum(1).square()]

    accumulator = UnitAccumulator([weight], Taylor(squared=True), fold, {"a": 2})
    for gradient in ([[1.0, 1.0], [3.0, -3.0]], [[2.0, 2.0], [1.0, 0.0]], [[torch.inf, 0.0]] * 2):
        weight.grad = torch.tensor(gradient)
        accumulator.add()
    (mean,) = accumulator.mean()
    assert mean.tolist() == [(4.0 + 16.0) / 2, (0.0 + 1.0) / 2]
