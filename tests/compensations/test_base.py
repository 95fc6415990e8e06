"""The contract that every compensation passes."""

import pickle
from dataclasses import replace

import pytest
import torch

from lightning_prune import compensations
from lightning_prune.compensations import Compensation, Moments

ALL = [
    pytest.param(getattr(compensations, name)(), id=name)
    for name in compensations.__all__
    if name not in {"Compensation", "Moments"}
]


def moments_of(features, outputs):
    rows = len(features)
    square = float(outputs.square().sum()) / rows
    return Moments(features.T @ features / rows, features.T @ outputs / rows, square)


@pytest.mark.parametrize("compensation", ALL)
def test_weights_that_lose_nothing_stay(compensation):
    torch.manual_seed(0)
    features, weight = torch.randn(50, 4).double(), torch.randn(3, 4).double()
    moments = moments_of(features, features @ weight.T)
    assert torch.allclose(compensation.fit(moments, weight), weight)
    assert moments.error(weight) == pytest.approx(0, abs=1e-12)
    assert moments.error(torch.zeros(3, 4).double()) == 1


@pytest.mark.parametrize("compensation", ALL)
def test_what_never_varies_changes_nothing(compensation):
    weight = torch.randn(3, 4).double()
    nothing = Moments(torch.zeros(4, 4).double(), torch.zeros(4, 3).double(), 0.0)
    assert torch.equal(compensation.fit(nothing, weight), weight)
    assert nothing.error(weight) == 0


@pytest.mark.parametrize("compensation", ALL)
def test_is_a_value(compensation):
    assert pickle.loads(pickle.dumps(compensation)) == compensation == replace(compensation)
    assert isinstance(compensation, Compensation)


@pytest.mark.parametrize("compensation", ALL)
def test_a_wrong_number_of_samples_is_refused(compensation):
    with pytest.raises(ValueError, match="Expected `samples` to be an integer of at least 1"):
        replace(compensation, samples=0)
