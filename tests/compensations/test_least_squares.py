"""Ridge regression towards what was returned before."""

import numpy as np
import pytest
import torch

from lightning_prune.compensations import LeastSquares, Moments


def test_it_is_the_least_squares_solution_of_the_stacked_system():
    generator = np.random.default_rng(0)
    x, y, w = (generator.normal(size=shape) for shape in ((40, 5), (40, 3), (3, 5)))
    ridge = 0.3
    held = ridge * np.square(x).mean()
    # ‖y − xVᵀ‖² / n + held ‖V − W‖², written as one least squares problem
    left = np.concatenate([x / np.sqrt(40), np.sqrt(held) * np.eye(5)])
    right = np.concatenate([y / np.sqrt(40), np.sqrt(held) * w.T])
    expected = np.linalg.lstsq(left, right, rcond=None)[0].T
    xt, yt = torch.from_numpy(x), torch.from_numpy(y)
    moments = Moments(xt.T @ xt / 40, xt.T @ yt / 40, float(yt.square().sum()) / 40)
    found = LeastSquares(ridge=ridge).fit(moments, torch.from_numpy(w))
    assert np.allclose(found, expected)
    before, after = moments.error(torch.from_numpy(w)), moments.error(found)
    lost = np.square(y - x @ expected.T).sum() / np.square(y).sum()
    assert after == pytest.approx(lost)
    assert after < before


def test_more_ridge_stays_nearer_to_the_weights_of_today():
    torch.manual_seed(0)
    x, y, w = torch.randn(30, 4).double(), torch.randn(30, 2).double(), torch.randn(2, 4).double()
    moments = Moments(x.T @ x / 30, x.T @ y / 30, 1.0)
    moved = [(LeastSquares(ridge=r).fit(moments, w) - w).norm() for r in (1e-3, 1.0, 1e3)]
    assert moved[0] > moved[1] > moved[2]


def test_features_that_are_alike_are_no_obstacle():
    x = torch.randn(30, 1).double().expand(30, 4)
    moments = Moments(x.T @ x / 30, x.T @ x[:, :2] / 30, 1.0)
    found = LeastSquares(ridge=1e-6).fit(moments, torch.zeros(2, 4).double())
    assert torch.allclose(found.sum(1), torch.ones(2).double(), atol=1e-4)


def test_no_ridge_is_refused():
    with pytest.raises(ValueError, match="Expected `ridge` to be a finite number greater than 0"):
        LeastSquares(ridge=0.0)


def test_features_that_vary_by_no_more_than_rounding_leave_the_weights():
    rounding = torch.full((3, 3), -1e-10).double()
    rounding.fill_diagonal_(1e-11)
    weight = torch.randn(2, 3).double()
    moments = Moments(rounding, torch.zeros(3, 2).double(), 1.0)
    assert torch.equal(LeastSquares().fit(moments, weight), weight)
