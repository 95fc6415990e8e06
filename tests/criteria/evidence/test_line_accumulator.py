import pytest
import torch
from support.random_steps import random_steps
from torch import nn

from lightning_prune.criteria import Gradient, Movement, Taylor
from lightning_prune.criteria.evidence.accumulator import Accumulator
from lightning_prune.criteria.evidence.line_accumulator import LineAccumulator


@pytest.mark.parametrize("criterion", [Gradient(), Taylor(), Movement()])
@pytest.mark.parametrize("tile", [1, 8, 1000])
def test_lines_are_sums_of_the_scores_of_weights(criterion, tile):
    dims = [[0, 1, 2], [0], [1]]
    lines, weights = random_steps(
        [
            lambda made: LineAccumulator(made, criterion, dims, tile=tile),
            lambda made: Accumulator(made, criterion),
        ]
    )
    found = iter(lines.mean())
    for mean, along in zip(weights.mean(), dims, strict=True):
        for dim in along:
            others = [d for d in range(mean.dim()) if d != dim]
            expected = mean.sum(others) if others else mean
            assert torch.allclose(next(found), expected, rtol=1e-5, atol=1e-7)


def test_what_is_held_for_lines_is_small():
    weight = nn.Parameter(torch.ones(512, 2048))
    weight.grad = torch.ones_like(weight)
    accumulator = LineAccumulator([weight], Taylor(), [[0, 1]], tile=4096)
    accumulator.add()
    assert accumulator.state_dict()["sum"].numel() == 512 + 2048
    assert [m.tolist()[0] for m in accumulator.mean()] == [2048.0, 512.0]


def test_sums_of_another_kind_are_refused():
    weight = nn.Parameter(torch.ones(3, 4))
    weight.grad = torch.ones_like(weight)
    weights = Accumulator([weight], Taylor())
    weights.add()
    with pytest.raises(ValueError, match="Expected 7 sums of scores in the checkpoint, but got 12"):
        LineAccumulator([weight], Taylor(), [[0, 1]]).load_state_dict(weights.state_dict())
