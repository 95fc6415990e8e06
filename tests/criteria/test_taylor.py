import torch

from lightning_prune.criteria import Taylor


def test_is_the_absolute_product():
    out = [torch.empty(3)]
    Taylor().write(out, [torch.tensor([2.0, -3.0, 0.0])], [torch.tensor([-1.0, 0.5, 9.0])])
    assert out[0].tolist() == [2.0, 1.5, 0.0]
