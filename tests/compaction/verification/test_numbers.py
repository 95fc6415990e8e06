"""Arguments that are numbers vary, with the sizes that they stand for."""

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.compaction.verification.numbers import (
    has_numbers,
    with_other_defaults,
    with_other_integers,
    with_other_reals,
)
from lightning_prune.modules.inputs import ExampleInputs


def test_reals_become_others_that_are_not_zero():
    inputs = ExampleInputs((torch.zeros(2), [0.5, 0.0, 3, True]), {"scale": -2.0})
    assert has_numbers(inputs, float)
    other = with_other_reals(inputs)
    assert other.args[1] == [0.75, 1.0, 3, True]
    assert other.kwargs == {"scale": -3.0}
    assert other.args[0] is inputs.args[0]


def test_true_is_no_number():
    inputs = ExampleInputs((torch.zeros(2), True), {})
    assert not has_numbers(inputs, int)
    assert not has_numbers(inputs, float)


def test_sizes_change_with_the_numbers_that_they_are_equal_to():
    first, alone = with_other_integers(ExampleInputs((torch.zeros(2, 5, 3), 5), {}))[:2]
    assert (first.args[0].shape, first.args[1]) == ((2, 6, 3), 6)
    assert (alone.args[0].shape, alone.args[1]) == ((2, 5, 3), 6)


def test_sizes_that_are_the_product_of_the_numbers_change_with_these():
    first = with_other_integers(ExampleInputs((torch.zeros(2, 12, 7), 3, 4), {}))[0]
    assert (first.args[0].shape, *first.args[1:]) == ((2, 20, 7), 4, 5)


def test_defaults_that_are_left_out_are_given():
    def forward(x, shift=0.0, steps=2, flag=False, name="a"):
        return x

    x = torch.zeros(2)
    both, reals = with_other_defaults(forward, ExampleInputs((x,), {}))
    assert both.kwargs == {"shift": 1.0, "steps": 3}
    assert reals.kwargs == {"shift": 1.0}
    assert with_other_defaults(forward, ExampleInputs((x, 0.5), {"steps": 1})) == []


class Net(nn.Module):
    """Four of its eight units are constants, of which only what follows knows whether they stay."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 5)
        with torch.no_grad():
            self.first.weight[:4] = 0


class Scaled(Net):
    def forward(self, x: Tensor, scale: float) -> Tensor:
        return self.last(torch.tanh(self.first(x) * scale))


class Shifted(Net):
    def forward(self, x: Tensor, shift: float = 0.0) -> Tensor:
        return self.last(torch.tanh(self.first(x) + shift))


class Grid(Net):
    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        cells = self.first(x).view(len(x), height, width, -1)
        return self.last(cells.mean((1, 2)) / (height * width))


@pytest.mark.parametrize(
    ("kind", "example", "later"),
    [
        (Scaled, (torch.randn(2, 6), 0.5), (torch.randn(2, 6), 2.0)),
        (Shifted, (torch.randn(2, 6),), (torch.randn(2, 6), 1.0)),
        (Grid, (torch.randn(2, 16, 6), 4, 4), (torch.randn(2, 36, 6), 6, 6)),
    ],
    ids=["scaled", "shifted", "grid"],
)
@pytest.mark.filterwarnings("ignore:Nothing was removed")
def test_what_holds_for_the_numbers_of_the_example_only_is_not_removed(kind, example, later):
    model = kind()
    with torch.no_grad():  # behind a rate of zero they would be zero
        model.first.bias[:4] = 0 if kind is Shifted else 1
    before = model(*later)
    lp.compact(model, example, latency=False)
    assert torch.allclose(model(*later), before, atol=1e-5)
