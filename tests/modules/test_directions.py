import pytest
import torch
from torch import nn

from lightning_prune.modules.directions import directions_of


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.parametrize(("dim", "found"), [(0, 0), (1, 1), (None, -1)])
def test_what_is_divided_by_its_length(norm, dim, found):
    model = nn.Sequential(norm(nn.Linear(3, 4), dim=dim), nn.Linear(4, 2))
    ((direction, along),) = directions_of(model)
    assert (direction.shape, along) == ((4, 3), found)
    with torch.no_grad():
        before = model(torch.ones(1, 3))
        direction.mul_(2.0)  # its length means nothing
        assert torch.allclose(model(torch.ones(1, 3)), before)


def test_other_parametrizations_have_none():
    model = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    assert list(directions_of(model)) == []
