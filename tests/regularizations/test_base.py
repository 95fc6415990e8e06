"""The contract that every regularization passes."""

import pickle
from dataclasses import replace

import pytest
import torch

from lightning_prune import regularizations
from lightning_prune.regularizations import Regularization

ALL = [
    pytest.param(getattr(regularizations, name)(), id=name)
    for name in regularizations.__all__
    if name != "Regularization"
]


@pytest.mark.parametrize("regularization", ALL)
@pytest.mark.parametrize("steps", [0, 1, 10_000])
def test_factors_shrink_and_stay_finite(regularization, steps):
    norms = torch.tensor([0.0, 1e-20, 1.0, 1e20])
    before = norms.clone()
    factors = regularization.factors(norms, 7, steps, 0.1)
    assert factors.shape == norms.shape
    assert ((factors >= 0) & (factors <= 1)).all()
    assert torch.equal(norms, before)
    assert torch.equal(factors, regularization.factors(norms, 7, steps, 0.1))


@pytest.mark.parametrize("regularization", ALL)
def test_no_learning_rate_no_change(regularization):
    assert torch.equal(regularization.factors(torch.ones(3), 4, 5, 0.0), torch.ones(3))


@pytest.mark.parametrize("regularization", ALL)
def test_is_a_value(regularization):
    assert pickle.loads(pickle.dumps(regularization)) == regularization == replace(regularization)


@pytest.mark.parametrize("regularization", ALL)
def test_wrong_options_are_refused(regularization):
    with pytest.raises(
        ValueError, match="Expected `strength` to be a finite number greater than 0"
    ):
        replace(regularization, strength=0.0)
    with pytest.raises(ValueError, match="Expected `refresh` to be an integer of at least 1"):
        replace(regularization, refresh=0)


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Regularization()
