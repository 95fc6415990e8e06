import pytest
import torch

from lightning_prune.criteria import Magnitude


@pytest.mark.parametrize(("p", "expected"), [(1, [2.0, 3.0, 0.0]), (2, [4.0, 9.0, 0.0])])
def test_is_a_power_of_the_absolute_weight(p, expected):
    out = [torch.empty(3)]
    Magnitude(p).write(out, [torch.tensor([2.0, -3.0, 0.0])], [])
    assert out[0].tolist() == expected


def test_refuses_another_power():
    with pytest.raises(ValueError, match="Expected `p` to be 1 or 2, but got 3"):
        Magnitude(p=3)
