"""Numbers by which values are cut in parts are right if the parts are, else they are corrected."""

import pytest
import torch
from support.oracle import half_of_every_group, randomize, zeroed
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.coupling import couple


def assert_exact(model: nn.Module, *inputs: Tensor) -> nn.Module:
    """Assert that half of every group goes, exactly; return the compact model."""
    model = randomize(model.double())
    inputs = tuple(x.double() for x in inputs)
    groups = couple(model, inputs).groups
    masked = zeroed(model, groups, half_of_every_group(groups), ["out in"] * len(groups))
    expected = masked.eval()(*inputs)
    report = compact(masked, inputs, latency=False)
    assert report.refused == {}
    assert all(count.removed == count.units // 2 for count in report.groups)
    assert torch.allclose(masked.eval()(*inputs), expected, rtol=1e-10, atol=1e-12)
    return masked


class Cut(nn.Module):
    """A layer, its output cut in parts, and a layer that reads them."""

    READ = 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 12)
        self.last = nn.Linear(self.READ, 2)


class SlicesBySize(Cut):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x[..., : x.shape[-1] // 2] * x[..., x.shape[-1] // 2 :])


class SlicesByNumber(Cut):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x[..., :6] * x[..., 6:])


class SplitBySize(Cut):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        first, second = x.split(x.shape[-1] // 2, -1)
        return self.last(first * second)


class SplitByNumber(Cut):
    def forward(self, x: Tensor) -> Tensor:
        first, second = self.first(x).split(6, -1)
        return self.last(first * second)


class SplitOfTwoSizes(Cut):
    READ = 12

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.first(x).split([5, 7], -1)
        return self.last(torch.cat([first.relu(), second], -1))


class NarrowBySize(Cut):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        half = x.shape[-1] // 2
        return self.last(x.narrow(-1, 0, half) * x.narrow(-1, half, half))


class TensorSplit(Cut):
    def forward(self, x: Tensor) -> Tensor:
        first, second = self.first(x).tensor_split(2, -1)
        return self.last(first * second)


KINDS = (
    SlicesBySize,
    SlicesByNumber,
    SplitBySize,
    SplitByNumber,
    SplitOfTwoSizes,
    NarrowBySize,
    TensorSplit,
)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_cut_where_they_belong(kind):
    assert_exact(kind(), torch.randn(4, 3))


class Repeated(nn.Module):
    """A vector over features, repeated for each head by a number."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 12)
        self.shift = nn.Parameter(torch.randn(1, 3))
        self.last = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.first(x).unflatten(-1, (-1, 3)) * self.shift.repeat(4, 1)
        return self.last(heads.flatten(-2))


def test_repeats_are_those_that_give_the_size():
    model = assert_exact(Repeated(), torch.randn(2, 3))
    assert model.first.weight.shape == (6, 3)
    assert model.shift.shape == (1, 3)


class OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(3, 24)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).split(8, -1)
        return self.last((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v)


def test_a_head_loses_features_and_keeps_its_scale():
    model = assert_exact(OneHead(), torch.randn(2, 5, 3))
    assert model.qkv.weight.shape == (3 * 4, 3)
