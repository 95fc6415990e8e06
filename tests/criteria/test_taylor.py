import pytest
import torch
from torch import nn

from lightning_prune.criteria import Taylor
from lightning_prune.pruning.scorer import Scorer
from lightning_prune.units.group import Axis, Group, Member


def test_is_the_absolute_product():
    out = [torch.empty(3)]
    Taylor().write(out, [torch.tensor([2.0, -3.0, 0.0])], [torch.tensor([-1.0, 0.5, 9.0])])
    assert out[0].tolist() == [2.0, 1.5, 0.0]


def test_the_squared_form_is_the_mean_square_of_what_a_unit_loses():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    members = (
        Member(Axis("0.weight", 0), "out", 4),
        Member(Axis("0.bias", 0), "out", 4),
        Member(Axis("2.weight", 1), "in", 4),
    )
    group = Group("0", 4, members)
    weights = {m.axis.tensor: model.get_parameter(m.axis.tensor) for m in members}
    scorer = Scorer(model, weights, [group], criterion=Taylor(squared=True))
    expected = torch.zeros(4, dtype=torch.float64)
    for batch in torch.randn(3, 6, 5, dtype=torch.float64):
        model.zero_grad()
        model(batch).square().sum().backward()
        scorer.evidence.add(None, None)
        products = {name: (p.grad * p).detach() for name, p in model.named_parameters()}
        for unit in range(4):
            change = sum(products["0.weight"][unit, i] for i in range(5))
            change += products["0.bias"][unit]
            change += sum(products["2.weight"][o, unit] for o in range(2))
            expected[unit] += change**2 / 3
    assert scorer.scores()[0].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
