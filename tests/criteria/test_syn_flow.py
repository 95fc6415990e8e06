import pytest
import torch
from torch import nn

from lightning_prune.criteria import SynFlow
from lightning_prune.criteria.evidence.flow import flow_gradients
from lightning_prune.granularities import Weight
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning import prune


def make_model():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 3, 3, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 2 * 2, 5, bias=False),
    )


def weight_scores(model):
    names = [name for name, _ in model.named_parameters()]
    flow = flow_gradients(model, [ExampleInputs.of(torch.randn(2, 2, 6, 6))], names)
    weights = [p.detach() for p in model.parameters()]
    out = [torch.empty_like(w) for w in weights]
    SynFlow().write(out, weights, [flow[name] for name in names])
    return out


def test_every_layer_carries_the_same_flow():
    sums = [score.double().sum().item() for score in weight_scores(make_model())]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-6)


def test_what_enters_a_hidden_channel_leaves_it():
    first, second, _ = weight_scores(make_model())
    assert first.sum((1, 2, 3)).tolist() == pytest.approx(second.sum((0, 2, 3)).tolist(), rel=1e-5)


def test_scores_equal_the_sum_over_paths():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    a, b = (model[i].weight.detach().abs().double() for i in (0, 2))
    flow = flow_gradients(model, [ExampleInputs.of(torch.randn(1, 3))], ["0.weight", "2.weight"])
    largest = max(b.sum(0).max(), a.sum(1).max())
    for unit in range(4):
        for i in range(3):
            expected = sum(b[o, unit] for o in range(2)) / largest
            assert flow["0.weight"][unit, i].item() == pytest.approx(expected.item(), rel=1e-9)
        for o in range(2):
            expected = sum(a[unit, i] for i in range(3)) / largest
            assert flow["2.weight"][o, unit].item() == pytest.approx(expected.item(), rel=1e-9)


def test_something_still_flows_after_many_rounds():
    model = make_model()
    report = prune(
        model,
        torch.randn(1, 2, 6, 6),
        sparsity=0.9,
        criterion=SynFlow(iterations=50),
        granularity=Weight(),
    )
    assert report.sparsity == pytest.approx(0.9, abs=0.01)
    assert sum(score.sum() for score in weight_scores(model)) > 0


def test_refuses_no_round():
    with pytest.raises(ValueError, match="Expected `iterations` to be an integer of at least 1"):
        SynFlow(iterations=0)
