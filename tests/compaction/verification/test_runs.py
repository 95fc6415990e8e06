"""A model runs as it is compared: on a copy, in a mode, without chance where that is possible."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from lightning_prune.compaction.verification.copies import Copies
from lightning_prune.compaction.verification.runs import Pass, runs
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(4, 6)


def outcome(model, *inputs, training=True, dtype=torch.float32, seed=0):
    steps = (Pass(ExampleInputs(inputs or (X,)), training=training),)
    return next(runs(Copies(model), steps, dtype, seed=seed))


def attention(m, x):
    q = x.view(1, 2, 4, 3)
    return F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)


class TwoLayers(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = kind(6, 5, num_layers=2, dropout=0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[0]


RATES = {
    "Dropout": nn.Dropout(0.5),
    "Dropout1d": nn.Dropout1d(0.5),
    "AlphaDropout": nn.AlphaDropout(0.5),
    "FeatureAlphaDropout": nn.FeatureAlphaDropout(0.5),
    "F.dropout": Net(lambda m, x: F.dropout(x, 0.5)),
    "native_dropout": Net(lambda m, x: torch.native_dropout(x, 0.5, True)[0]),
    "attention": Net(attention),
    "StochasticDepth": StochasticDepth(0.5, "row"),
    "bernoulli": Net(lambda m, x: x * torch.bernoulli(x, 0.5)),
    "LSTM": TwoLayers(nn.LSTM),
    "GRU": TwoLayers(nn.GRU),
}


@pytest.mark.parametrize("model", RATES.values(), ids=RATES)
def test_nothing_is_left_out_at_random(model):
    first, second = outcome(model), outcome(model, seed=1)
    assert not first.draws
    assert torch.equal(first.leaves[0], second.leaves[0])


@pytest.mark.parametrize(
    "function",
    [lambda m, x: x * torch.bernoulli(x, 0.5), lambda m, x: x * torch.empty_like(x).bernoulli_()],
)
def test_drawing_what_stays_keeps_everything(function):
    assert torch.equal(outcome(Net(function)).leaves[0], X)


def test_dropout_becomes_the_identity_where_it_is_told_its_rate():
    assert torch.equal(outcome(RATES["native_dropout"]).leaves[0], X)


DRAWS = {
    "noise": lambda m, x: x + torch.randn_like(x),
    "chosen chances": lambda m, x: torch.bernoulli(x.sigmoid()),
    "python": lambda m, x: x * random.random(),
    "numpy": lambda m, x: x * float(np.random.rand()),
    "own noise": lambda m, x: F.rrelu(x, training=True),
}


@pytest.mark.parametrize("function", DRAWS.values(), ids=DRAWS)
def test_other_chance_is_noted_and_seeded(function):
    model = Net(function)
    first, again, other = outcome(model), outcome(model), outcome(model, seed=1)
    assert first.draws
    assert torch.equal(first.leaves[0], again.leaves[0])
    assert not torch.equal(first.leaves[0], other.leaves[0])


def test_no_generator_is_moved():
    states = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()]
    outcome(Net(lambda m, x: x + torch.rand_like(x) + random.random() + np.random.rand()))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])


def test_what_happens_in_training_is_seen_afterwards_and_only_there():
    model = nn.BatchNorm1d(6).eval()
    inputs = ExampleInputs((X,))
    steps = (Pass(inputs), Pass(inputs, training=True), Pass(inputs))
    before, training, after = (run.leaves[0] for run in runs(Copies(model), steps, torch.float32))
    normal = (X - X.mean(0)) / (X.var(0, correction=0) + model.eps).sqrt()
    torch.testing.assert_close(training, normal)
    mean, var = 0.1 * X.mean(0), 0.9 + 0.1 * X.var(0)
    torch.testing.assert_close(before, X / (1 + model.eps) ** 0.5)
    torch.testing.assert_close(after, (X - mean) / (var + model.eps).sqrt())
    assert not model.running_mean.any()
    assert not model.training


def test_training_writes_into_memory_of_its_own():
    def grow(m, x):
        m.last.weight.data.add_(1)
        return m.last(x)

    model = Net(grow, last=nn.Linear(6, 2))
    before = model.last.weight.clone()
    outcome(model)
    assert torch.equal(model.last.weight, before)


def test_the_arithmetic_is_what_is_asked_for():
    model = nn.Linear(6, 2).bfloat16()
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        wanted = None if dtype == torch.bfloat16 else dtype
        assert outcome(model, dtype=wanted).leaves[0].dtype == dtype
    assert model.weight.dtype == torch.bfloat16
