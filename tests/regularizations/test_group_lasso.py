import pytest
import torch

from lightning_prune.regularizations import GroupLasso


def test_takes_the_same_length_off_every_norm_down_to_zero():
    norms = torch.tensor([0.1, 0.5, 2.0])
    factors = GroupLasso(strength=3.0).factors(norms, 4, 0, 0.05)
    assert (norms * factors).tolist() == pytest.approx([0.0, 0.5 - 0.3, 2.0 - 0.3])
