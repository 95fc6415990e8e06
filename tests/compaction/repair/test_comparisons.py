from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_prune.compaction.plan import Attribute, SizeChange
from lightning_prune.compaction.repair.comparisons import place_of, stale_attribute


class Layer(nn.Module):
    def __init__(self, check: Any) -> None:
        super().__init__()
        self.width, self.name, self.check = 8, "layer", check

    def forward(self, x: Tensor) -> Tensor:
        getattr(self, self.check)(x)
        return x

    def shape(self, x: Tensor) -> None:
        assert x.shape[-1] == self.width

    def size(self, x: Tensor) -> None:
        assert self.width == x.size(1), "another width"

    def variable(self, x: Tensor) -> None:
        _, width = x.shape
        if self.width != width:
            message = f"{width}"
            raise ValueError(message)

    def several(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] != self.width:
            raise ValueError(
                f"got {x.shape}",
            )

    def sizes(self, x: Tensor) -> None:
        batch = len(x)
        if x.size() != (batch, self.width):
            raise ValueError

    def listed(self, x: Tensor) -> None:
        assert [2, self.width] == list(x.shape)

    def multiple(self, x: Tensor) -> None:
        batch, flat = len(x), x.reshape(-1)
        assert flat.size(0) == batch * self.width

    def multiples(self, x: Tensor) -> None:
        batch, row = len(x), x.reshape(1, -1)
        assert tuple(row.size()) == (1, self.width * batch)

    def of_two_attributes(self, x: Tensor) -> None:
        flat = x.reshape(-1)
        assert flat.size(0) == self.width * self.width

    def number(self, x: Tensor) -> None:
        assert x.shape[1] == 8

    def smaller(self, x: Tensor) -> None:
        assert x.shape[1] > self.width

    def text(self, x: Tensor) -> None:
        assert x.dtype == self.name

    def computed(self, x: Tensor) -> None:
        assert int(x.sum()) == self.width


def raised(check: str) -> tuple[nn.Module, Exception]:
    model = nn.Sequential(nn.Identity(), Layer(check))
    with pytest.raises((AssertionError, ValueError)) as caught:
        model(torch.ones(2, 5))
    return model, caught.value


@pytest.mark.parametrize(
    "check", ["shape", "size", "variable", "several", "sizes", "listed", "multiple", "multiples"]
)
def test_an_attribute_that_is_held_against_a_width_is_stale(check: str) -> None:
    assert stale_attribute(*raised(check)) == (Attribute("1", "width"), SizeChange(8, 5))


@pytest.mark.parametrize("check", ["number", "smaller", "text", "computed", "of_two_attributes"])
def test_of_nothing_else_it_is_told(check: str) -> None:
    assert stale_attribute(*raised(check)) is None


def test_the_place_is_that_in_the_users_code() -> None:
    assert place_of(raised("number")[1]).startswith("test_comparisons.py:")
    with pytest.raises(RuntimeError) as caught:
        nn.Linear(3, 2)(torch.ones(2, 5))
    assert place_of(caught.value).startswith("test_comparisons.py:")
    assert place_of(ValueError()) == ""
