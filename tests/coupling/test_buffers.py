"""A buffer is zeroed with a unit only where nothing writes other values into it."""

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.coupling import couple

X = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.rand(6, 4) + 1)
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)

    def added(self, y: Tensor) -> Tensor:
        return y + self.table[: y.shape[1]]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.added(self.first(x))))


class Grown(Added):
    def grow(self, length: int) -> None:
        self.table = torch.rand(length, 4)


class Registered(Added):
    def grow(self, length: int) -> None:
        self.register_buffer("table", torch.rand(length, 4))


class Filled(Added):
    def fill(self) -> None:
        self.table[0] = 1.0


class Written(Added):
    def added(self, y: Tensor) -> Tensor:
        if self.training:
            self.table.mul_(0.9)
        return super().added(y)


class Resized(Added):
    """Positions of another size are computed, as wide as the table is."""

    def added(self, y: Tensor) -> Tensor:
        if y.shape[1] > 6:
            return y + torch.rand(y.shape[1], self.table.shape[-1])
        return super().added(y)


class Sized(Added):
    def added(self, y: Tensor) -> Tensor:
        assert y.shape[-1] == self.table.size(-1)
        return super().added(y)


class Divisor(Added):
    def added(self, y: Tensor) -> Tensor:
        return super().added(y) / self.table[0]


class Indices(Added):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.arange(24).reshape(6, 4)


def test_what_is_added_is_a_member_that_writes() -> None:
    (group,) = couple(Added(), X).groups
    (member,) = (member for member in group.members if member.axis.tensor == "table")
    assert (member.side, member.buffer, member.added) == ("out", True, True)
    assert group.constant is None


@pytest.mark.parametrize(
    "kind", [Grown, Registered, Filled, Written, Resized, Sized, Divisor, Indices]
)
def test_what_gets_other_values_freezes_the_stream(kind: type[Added]) -> None:
    assert couple(kind(), X).groups == ()


def test_a_class_without_source_freezes_it() -> None:
    body: dict[str, object] = {"__module__": __name__}
    made = type("Made", (Added,), {**body, "more": lambda self: None})
    made.__module__ = "nowhere"
    assert couple(made(), X).groups == ()


def test_statistics_of_a_batch_norm_are_cut_and_never_zeroed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    (group,) = couple(net, torch.randn(2, 3, 4, 4)).groups
    sides = {m.axis.tensor: m.side for m in group.members if m.buffer}
    assert sides == {"1.running_mean": "shape", "1.running_var": "shape"}
