"""Sums of rows in parts: the averages are those of all rows together."""

import numpy as np
import pytest
import torch

from lightning_prune.pruning.compensating.sums import Sums


def both(products: bool = True) -> tuple[Sums, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x, y = generator.normal(3, 1, (30, 4)), generator.normal(-2, 1, (30, 2))
    sums = Sums(4, 2, products=products)
    for rows in (slice(0, 7), slice(7, 30)):
        sums.add(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
    return sums, x, y


@pytest.mark.parametrize("about_mean", [True, False])
def test_moments_are_averages_over_all_rows(about_mean: bool) -> None:
    sums, x, y = both()
    assert np.allclose(sums.mean_features, x.mean(0))
    assert np.allclose(sums.mean_outputs, y.mean(0))
    if about_mean:
        x, y = x - x.mean(0), y - y.mean(0)
    moments = sums.moments(about_mean=about_mean)
    assert np.allclose(moments.features, x.T @ x / 30)
    assert np.allclose(moments.outputs, x.T @ y / 30)
    assert moments.square == pytest.approx(np.square(y).sum() / 30)


def test_ranks_are_added_up() -> None:
    one, x, _ = both()
    one.reduce(lambda tensor: tensor + tensor)  # two ranks with the same rows
    assert np.allclose(one.mean_features, x.mean(0))
    assert np.allclose(one.moments(about_mean=False).features, x.T @ x / 30)


def test_nothing_and_what_is_not_finite_is_told() -> None:
    assert not Sums(4, 2, products=True).finite
    sums = both()[0]
    assert sums.finite
    sums.add(torch.full((1, 4), torch.inf).double(), torch.zeros(1, 2).double())
    assert not sums.finite


def test_without_products_there_are_means_alone() -> None:
    sums, x, y = both(products=False)
    assert np.allclose(sums.mean_features, x.mean(0))
    assert np.allclose(sums.mean_outputs, y.mean(0))
    assert sums.finite
