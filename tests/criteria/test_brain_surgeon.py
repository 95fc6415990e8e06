import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.criteria import BrainSurgeon


def make_model() -> nn.Sequential:
    """Hidden units of equal weight, of which each of the first four is there twice."""
    model = nn.Sequential(nn.Linear(16, 12), nn.Linear(12, 3))
    with torch.no_grad():
        model[0].weight[4:8] = model[0].weight[:4]
        model[0].bias[4:8] = model[0].bias[:4] + 1  # means do not count
        model[1].weight.fill_(1.0)
    return model


def test_units_that_others_can_stand_for_go_and_least_squares_restores_them() -> None:
    torch.manual_seed(0)
    model, batches = make_model(), torch.randn(4, 64, 16)
    report = lp.prune(
        model,
        batches[0],
        sparsity=4 / 12,
        of="units",
        criterion=BrainSurgeon(),
        batches=batches,
        loss=lambda m, batch: m(batch).sum(),
        compensation=lp.LeastSquares(ridge=1e-9),
    )
    gone = {int(unit) for unit in torch.nonzero(model[0].bias == 0)}
    assert report.groups[0].removed == len(gone) == 4
    assert {unit % 4 for unit in gone} == {0, 1, 2, 3}
    assert gone <= set(range(8))
    lost, loses = report.compensated.errors["1.weight"]
    assert lost > 0.1
    assert loses < 1e-4


def test_the_score_is_the_error_that_least_squares_leaves() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(500, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    inputs -= inputs.mean(0)
    weight = torch.randn(1, 5, dtype=torch.float64)
    left = torch.linalg.inv(inputs.T @ inputs / 500).diagonal().reciprocal()
    out = [torch.empty(1, 5)]
    BrainSurgeon().write(out, [weight], [left[None]])
    for j in range(5):
        others = torch.cat([inputs[:, :j], inputs[:, j + 1 :]], dim=1)
        lost = inputs[:, j : j + 1] * weight[0, j]
        fitted = others @ torch.linalg.lstsq(others, lost).solution
        assert float(out[0][0, j]) == pytest.approx(float((lost - fitted).square().mean()), 1e-4)
