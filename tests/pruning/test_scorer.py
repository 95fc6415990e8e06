import pytest
import torch
from torch import nn

from lightning_prune.criteria import (
    ActivationRate,
    GeometricMedian,
    Gradient,
    Magnitude,
    Taylor,
    Wanda,
)
from lightning_prune.errors import TargetError
from lightning_prune.pruning import prune
from lightning_prune.pruning.scorer import Scorer
from lightning_prune.units.group import Axis, Group, Member

GROUP = Group(
    "0",
    4,
    (
        Member(Axis("0.weight", 0), "out", 4),
        Member(Axis("0.bias", 0), "out", 4),
        Member(Axis("2.weight", 1), "in", 4),
    ),
)


def scorer_of(model, criterion, **options):
    weights = {n: p for n, p in model.named_parameters() if n != "2.bias"}
    return Scorer(model, weights, [GROUP], criterion=criterion, **options)


def make(criterion, **options):
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    return model, scorer_of(model, criterion, **options)


def step(model, scorer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    model.zero_grad()
    model(torch.randn(6, 5, generator=generator)).square().sum().backward()
    scorer.evidence.add()


def test_reduces_as_told():
    model, scorer = make(Magnitude(), reduce="max")
    every = torch.cat([model[0].weight, model[0].bias[:, None], model[2].weight.T], 1).abs()
    assert torch.equal(scorer.scores()[0], every.max(1).values)


def test_rates_of_a_hidden_layer():
    model, scorer = make(ActivationRate())
    scorer.evidence.start(only_training=True)
    assert not scorer.evidence.ready
    generator = torch.Generator().manual_seed(0)
    hidden = torch.relu(model[0](torch.randn(6, 5, generator=generator)))
    scorer.evidence.reset()
    step(model, scorer)
    assert scorer.evidence.ready
    expected = (hidden > 0).float().mean(0).tolist()
    assert scorer.scores()[0].tolist() == pytest.approx(expected)
    scorer.evidence.stop()


CRITERIA = [Gradient(), Taylor(squared=True), Wanda(), ActivationRate()]


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_the_state_goes_on_where_it_was(criterion):
    model, whole = make(criterion)
    resumed = scorer_of(model, criterion)
    whole.evidence.start(only_training=True)
    step(model, whole, 0)
    resumed.load_state_dict(whole.state_dict())
    resumed.evidence.start(only_training=True)
    step(model, whole, 1)
    resumed.evidence.add()
    assert torch.equal(whole.scores()[0], resumed.scores()[0])
    whole.evidence.stop()
    resumed.evidence.stop()


def test_without_a_step_there_are_no_scores():
    for criterion, what in ((Gradient(), "gradients"), (Wanda(), "activations")):
        with pytest.raises(TargetError, match=f"Expected finite {what} other than zero"):
            make(criterion)[1].scores()


def test_an_empty_state_is_none():
    assert make(Gradient())[1].state_dict() is None
    assert make(Magnitude())[1].state_dict() is None


def test_reset_forgets():
    model, scorer = make(Gradient())
    step(model, scorer)
    scorer.evidence.reset()
    assert not scorer.evidence.ready


def test_a_compiled_model_is_watched_by_its_plain_names():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(6, 5)
    report = prune(
        torch.compile(model, backend="eager"),
        x,
        sparsity=0.5,
        criterion=ActivationRate(),
        batches=[x],
        loss=lambda m, batch: m(batch).sum(),
        of="units",
    )
    assert report.sparsity == 0.5
    assert (model[0].weight == 0).all(1).sum() == 2


def test_single_weights_are_refused_by_a_criterion_of_whole_units():
    layer = nn.Linear(5, 4)
    single = Group("weight", 20, (Member(Axis("weight", -1), "out", 20),))
    rows = Group("weight", 4, (Member(Axis("weight", 0), "out", 4),))
    weights = {"weight": layer.weight}
    with pytest.raises(TargetError, match="to score every group, but got no score of weight"):
        Scorer(layer, weights, [single], criterion=GeometricMedian())
    assert Scorer(layer, weights, [rows], criterion=GeometricMedian()).evidence.ready
