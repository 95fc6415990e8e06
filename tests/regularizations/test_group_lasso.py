import pytest
import torch

from lightning_prune.regularizations import GroupLasso


def test_takes_the_same_length_off_every_norm_down_to_zero():
    norms = torch.tensor([0.1, 0.5, 2.0])
    factors = GroupLasso(strength=3.0).factors(norms, 4, 0, 0.05)
    assert (norms * factors).tolist() == pytest.approx([0.0, 0.5 - 0.3, 2.0 - 0.3])


def test_grows_towards_the_unit_of_the_lowest_norm():
    norms = torch.tensor([0.0, 1.0, 2.0, 3.0])
    lost = norms - norms * GroupLasso(strength=0.1, growth=4.0).factors(norms, 1, 0, 1.0)
    # (9 - 4) / (9 - 1) of four doublings for the unit in between; that of norm zero stays there.
    assert lost.tolist() == pytest.approx([0.0, 1.0, 0.1 * 2 ** (4 * 5 / 8), 0.1], rel=1e-5)


def test_units_of_one_norm_shrink_alike():
    norms = torch.full((3,), 2.0)
    grown, plain = (GroupLasso(strength=0.1, growth=g).factors(norms, 1, 0, 1.0) for g in (4, 0))
    assert torch.equal(grown, plain)
