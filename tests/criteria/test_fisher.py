import pytest
import torch

from lightning_prune.criteria import Fisher


def scores(criterion):
    out = [torch.empty(3)]
    criterion.write(out, [torch.tensor([2.0, -3.0, 0.0])], [torch.tensor([-1.0, 0.5, 9.0])])
    return out[0].tolist()


def test_is_the_squared_gradient():
    assert scores(Fisher()) == [1.0, 0.25, 81.0]


def test_obd_is_half_of_it_times_the_squared_weight():
    expected = [0.5 * (-1.0 * 2.0) ** 2, 0.5 * (0.5 * 3.0) ** 2, 0.0]
    assert scores(Fisher(obd=True)) == pytest.approx(expected, rel=1e-6)
