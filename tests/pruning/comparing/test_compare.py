"""Candidates compared without a Trainer."""

import copy

import pytest
import torch
from torch import nn

import lightning_prune as lp
from tests.pruning.comparing.test_auto import loss, loud_and_idle


def compared(candidates, **given):
    model, batches = loud_and_idle()
    arguments = {"batches": batches, "loss": loss, "held_out": batches, "sparsity": 0.5}
    return lp.compare(model, batches[0][0], candidates, **(arguments | given))


def test_the_best_is_what_reads_how_units_are_used_and_random_loses():
    comparison = compared([lp.Magnitude(), lp.Random(), lp.Wanda(), lp.Taylor()])
    order = [trial.criterion for trial in sorted(comparison.tried, key=lambda t: t.value)]
    assert comparison.best.criterion == lp.Taylor() == order[0]
    assert comparison.best.value == pytest.approx(comparison.dense, rel=0.05)
    assert all(t.value > 10 * comparison.dense for t in comparison.tried if t != comparison.best)


def test_the_same_call_returns_the_same():
    candidates = [lp.Random(seed) for seed in range(3)] + [lp.Candidate(lp.Fisher(), lp.Uniform())]
    first, second = (compared(candidates, compensation=lp.LeastSquares()) for _ in range(2))
    assert [t.value for t in first.tried] == [t.value for t in second.tried]
    assert first.best_index == second.best_index


@pytest.mark.parametrize("compensation", [None, lp.LeastSquares()])
def test_each_value_is_that_of_pruning_by_the_candidate_alone(compensation):
    candidates = [lp.Magnitude(), lp.Candidate(lp.Gradient(), lp.Uniform())]
    comparison = compared(candidates, compensation=compensation)
    for trial in comparison.tried:
        model, batches = loud_and_idle()
        lp.prune(
            model,
            batches[0][0],
            sparsity=0.5,
            criterion=trial.criterion,
            allocation=trial.allocation,
            batches=batches,
            loss=loss,
            compensation=compensation,
        )
        with torch.no_grad():
            alone = torch.stack([loss(model, batch) for batch in batches]).mean()
        assert trial.value == pytest.approx(float(alone), rel=1e-5)


def test_the_model_is_left_as_it_is():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    x = torch.randn(8, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    lp.compare(
        model,
        x,
        [lp.Taylor(), lp.Wanda()],
        sparsity=0.5,
        batches=[x],
        held_out=[x],
        loss=lambda model, batch: model(batch).square().mean(),
        compensation=lp.LeastSquares(),
    )
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_seconds_bound_how_many_are_tried_and_the_rest_is_named():
    comparison = compared([lp.Magnitude(), lp.Random(), lp.Taylor()], seconds=1e-9)
    assert [trial.criterion for trial in comparison.tried] == [lp.Magnitude()]
    assert [name.partition("(")[0] for name in comparison.untried] == ["Random", "Taylor"]
    assert "no time was left for Taylor(squared=False) with Global(" in str(comparison)


def test_a_metric_takes_the_place_of_held_out_data():
    def rows(model):
        return float(model[0].weight.abs().sum(1).count_nonzero() + model[0].weight.abs().max())

    for better in (True, False):
        given = {"held_out": None, "metric": rows, "higher_is_better": better}
        comparison = compared([lp.Taylor(), lp.Magnitude()], **given)
        assert comparison.best.criterion == (lp.Magnitude() if better else lp.Taylor())
        assert comparison.measure == "metric"


def test_weights_alone_take_no_batches():
    comparison = compared([lp.Magnitude(), lp.Random()], batches=None)
    assert len(comparison.tried) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"held_out": None}, "either `held_out` or `metric` to be given, but got none"),
        ({"metric": lambda model: 0.0}, "either `held_out` or `metric` to be given, but got both"),
        ({"loss": None, "batches": None}, "`loss` to be given for `held_out`, but got None"),
    ],
)
def test_what_measures_is_given_once(given, message):
    with pytest.raises(ValueError, match=message):
        compared([lp.Magnitude()], **given)
