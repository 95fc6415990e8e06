import torch

from lightning_prune.criteria import Magnitude


def test_is_the_absolute_weight():
    out = [torch.empty(3)]
    Magnitude().write(out, [torch.tensor([2.0, -3.0, 0.0])], [])
    assert out[0].tolist() == [2.0, 3.0, 0.0]
