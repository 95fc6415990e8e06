"""A module whose attribute holds one of its own methods runs that of its rewritten class."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from support.oracle import halved
from torch import Tensor, nn

from lightning_prune.compaction import compact, load_compact, save_compact
from lightning_prune.compaction.rewriting import edits_of, own_methods_in

X = torch.randn(4, 3, 8, 8)


class Partial(nn.Module):
    """Convolves some channels and passes on the others, in one of two ways that it chooses."""

    def __init__(self, width: int, *, joins: bool) -> None:
        super().__init__()
        self.first = width // 4
        self.rest = width - self.first
        self.conv = nn.Conv2d(self.first, self.first, 3, padding=1)
        self.forward = self.split_and_join if joins else self.overwrite

    def split_and_join(self, x: Tensor) -> Tensor:
        first, rest = torch.split(x, [self.first, self.rest], dim=1)
        return torch.cat([self.conv(first), rest], 1)

    def overwrite(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, : self.first] = self.conv(x[:, : self.first])
        return x


def net(*, joins: bool) -> nn.Module:
    body = [nn.Conv2d(3, 16, 3), nn.ReLU(), Partial(16, joins=joins), Partial(16, joins=joins)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


@pytest.fixture(params=[True, False], ids=["split", "overwritten"])
def small(request) -> nn.Module:
    model = halved(net(joins=request.param), (X,)).eval()
    masked = copy.deepcopy(model)
    report = compact(model, X, latency=False)
    assert report.refused == {}
    assert model[0].out_channels == 8
    x = torch.randn(2, 3, 11, 9)
    torch.testing.assert_close(model(x), masked(x))
    return model


def test_it_lives_on_as_any_other(small, tmp_path):
    x = torch.randn(2, 3, 11, 9)
    assert edits_of(type(small[2]))[1]
    assert set(own_methods_in(small[2])) == {"forward"}
    for other in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert other[2].forward.__self__ is other[2]
        assert torch.equal(other(x), small(x))
    save_compact(small, tmp_path / "small")
    fresh = net(joins="split" in small[2].forward.__name__)
    loaded = load_compact(fresh, tmp_path / "small")
    assert torch.equal(loaded.eval()(x), small(x))


def test_it_is_cut_again(small):
    x = torch.randn(2, 3, 11, 9)
    small = halved(small, (X,)).eval()
    masked = copy.deepcopy(small)
    assert compact(small, X, latency=False).refused == {}
    assert small[0].out_channels == 4
    torch.testing.assert_close(small(x), masked(x))
    assert torch.equal(pickle.loads(pickle.dumps(small))(x), small(x))
