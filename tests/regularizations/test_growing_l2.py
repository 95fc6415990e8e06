import pytest
import torch

from lightning_prune.regularizations import GrowingL2


@pytest.mark.parametrize(
    ("steps", "strength"), [(0, 0.1), (4, 0.1), (5, 0.2), (14, 0.3), (99, 0.5)]
)
def test_grows_up_to_its_ceiling(steps, strength):
    regularization = GrowingL2(strength=0.1, every=5, ceiling=0.5)
    factors = regularization.factors(torch.ones(2), 3, steps, 0.01)
    assert factors.tolist() == pytest.approx([1 / (1 + 0.01 * strength)] * 2)


def test_refuses_what_does_not_grow():
    with pytest.raises(ValueError, match="Expected `ceiling` to be a finite number of at least 1"):
        GrowingL2(strength=1.0, ceiling=0.5)
    with pytest.raises(ValueError, match="Expected `every` to be an integer of at least 1"):
        GrowingL2(every=0)
