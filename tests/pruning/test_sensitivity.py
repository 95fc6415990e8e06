import pytest
import torch
from torch import nn

from lightning_prune.allocations import PerLayer
from lightning_prune.allocations.sensitivity import Sensitivity
from lightning_prune.criteria import Magnitude, Taylor, Wanda
from lightning_prune.granularities import Channel, Weight
from lightning_prune.pruning import prune, sensitivity

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))


def make_model():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 2))
    with torch.no_grad():
        model[2].weight[:8].mul_(1e-3)  # most units of the second layer do little
        model[2].bias[:8].zero_()
    return model


@torch.no_grad()
def error(model, batch):
    return float((model(batch) - TARGET).square().mean().sqrt())


TARGET = make_model()(X).detach()


def test_equals_pruning_one_group_alone():
    model = make_model()
    report = sensitivity(model, X, error, example_inputs=X, sparsities=[0.25, 0.5], progress=False)
    assert report.reference == pytest.approx(0.0, abs=1e-6)
    assert list(report.curves) == ["0", "2"]
    for name, curve in report.curves.items():
        for sparsity, value in curve.items():
            alone = make_model()
            prune(alone, X, sparsity=sparsity, criterion=Magnitude(), of="units", include=[name])
            assert value == pytest.approx(error(alone, X), rel=1e-5)


def test_of_a_group_one_unit_is_always_left():
    alive = []

    def count(model, batch):
        alive.append(int(model[2].weight.any(1).sum()))
        return 0.0

    sensitivity(make_model(), X, count, example_inputs=X, sparsities=[0.99], progress=False)
    assert alive == [10, 10, 1]


def test_the_model_is_left_as_it_is():
    model = make_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sensitivity(model, X, error, example_inputs=X, progress=False)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("criterion", [Taylor(), Taylor(squared=True), Wanda()], ids=repr)
def test_criteria_with_data(criterion):
    report = sensitivity(
        make_model(),
        X,
        error,
        example_inputs=X,
        criterion=criterion,
        batches=[X],
        loss=lambda model, batch: model(batch).square().mean(),
        sparsities=[0.5],
        progress=False,
    )
    assert all(value >= 0.0 for curve in report.curves.values() for value in curve.values())


def test_goes_on_where_it_was(tmp_path):
    path, calls = tmp_path / "s.json", []

    def counted(model, batch):
        calls.append(1)
        return error(model, batch)

    options = {"example_inputs": X, "path": path, "progress": False}
    first = sensitivity(make_model(), X, counted, sparsities=[0.25], **options)
    assert len(calls) == 1 + 2
    both = sensitivity(make_model(), X, counted, sparsities=[0.25, 0.5], **options)
    assert len(calls) == 1 + 2 + 2
    assert {name: curve[0.25] for name, curve in both.curves.items()} == {
        name: curve[0.25] for name, curve in first.curves.items()
    }
    assert Sensitivity.load(path) == both


def test_layers_that_tolerate_more_lose_more():
    model = make_model()
    report = sensitivity(model, X, error, example_inputs=X, progress=False)
    allocation = PerLayer.from_sensitivity(report, max_drop=0.05, higher_is_better=False)
    assert allocation.sparsities["2"] == 0.7
    assert allocation.sparsities["0"] < allocation.sparsities["2"]
    found = prune(model, X, sparsity=0.3, criterion=Magnitude(), allocation=allocation, of="units")
    first, second = (group.removed / group.units for group in found.groups)
    assert second > first


def test_single_weights_need_no_inputs():
    report = sensitivity(
        make_model(), X, error, granularity=Weight(), sparsities=[0.5], progress=False
    )
    assert list(report.curves) == ["0.weight", "2.weight", "4.weight"]


def test_a_floor_holds():
    options = {"example_inputs": X, "sparsities": [0.25, 0.75], "progress": False}
    report = sensitivity(make_model(), X, error, granularity=Channel(min_units=6), **options)
    assert report.curves["0"][0.25] == report.curves["0"][0.75]
