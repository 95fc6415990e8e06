import pytest
import torch
from support.random_steps import SHAPES, random_steps
from torch import nn

from lightning_prune.criteria import Gradient, Movement, Taylor
from lightning_prune.criteria.evidence.accumulator import Accumulator
from lightning_prune.modules.tiles import tiles_of


def weights(*gradients):
    made = [nn.Parameter(torch.ones(len(g))) for g in gradients]
    for weight, gradient in zip(made, gradients, strict=True):
        weight.grad = torch.tensor(gradient)
    return made


def set_gradients(made, *gradients):
    for weight, gradient in zip(made, gradients, strict=True):
        weight.grad = None if gradient is None else torch.tensor(gradient)


def test_mean_over_steps():
    made = weights([1.0, 3.0], [0.0])
    accumulator = Accumulator(made, Gradient())
    accumulator.add()
    set_gradients(made, [0.0, 0.0], [-50.0])
    accumulator.add()
    assert [m.tolist() for m in accumulator.mean()] == [[0.125, 0.375], [0.5]]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_step_that_is_not_finite_counts_nothing(bad):
    made = weights([1.0, 3.0], [4.0])
    accumulator = Accumulator(made, Taylor())
    set_gradients(made, [1.0, 1.0], [bad])
    accumulator.add()
    assert not accumulator.ready
    set_gradients(made, [1.0, 3.0], [4.0])
    accumulator.add()
    assert accumulator.ready
    assert [m.tolist() for m in accumulator.mean()] == [[1.0, 3.0], [4.0]]


def test_a_step_of_zeros_counts_nothing():
    made = weights([2.0])
    set_gradients(made, [0.0])
    accumulator = Accumulator(made, Taylor())
    accumulator.add()
    assert not accumulator.ready


def test_a_missing_gradient_scores_zero_in_that_step():
    made = weights([2.0], [4.0])
    accumulator = Accumulator(made, Taylor())
    accumulator.add()
    set_gradients(made, [2.0], None)
    accumulator.add()
    assert [m.item() for m in accumulator.mean()] == [2.0, 2.0]


def test_no_gradient_at_all_is_no_step():
    made = weights([2.0])
    set_gradients(made, None)
    accumulator = Accumulator(made, Taylor())
    accumulator.add()
    assert not accumulator.ready


def test_optimizers_take_turns():
    made = weights([2.0], [4.0])
    accumulator = Accumulator(made, Taylor())
    for chosen in ([made[0]], [made[0]], [made[1]], [nn.Parameter(torch.ones(1))]):
        accumulator.add(chosen)
    assert [m.item() for m in accumulator.mean()] == [2.0, 4.0]


@pytest.mark.parametrize("scale", [8.0, torch.tensor(8.0)], ids=["float", "tensor"])
def test_a_gradient_scale_is_taken_out(scale):
    made = weights([16.0])
    accumulator = Accumulator(made, Taylor())
    accumulator.add(grad_scale=scale)
    assert accumulator.mean()[0].item() == 2.0
    assert made[0].grad.item() == 16.0


def test_sparse_gradients():
    table = nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    accumulator = Accumulator([table.weight], Gradient())
    accumulator.add()
    assert accumulator.mean()[0].tolist() == [[0.0, 0.0], [0.5, 0.5], [0.0, 0.0]]


def test_low_precision_is_summed_in_float32():
    made = [nn.Parameter(torch.ones(1, dtype=torch.bfloat16))]
    made[0].grad = torch.full((1,), 1 / 256, dtype=torch.bfloat16)
    accumulator = Accumulator(made, Taylor())
    for _ in range(1000):
        accumulator.add()
    assert accumulator.mean()[0].item() == pytest.approx(1 / 256, rel=1e-4)


def test_the_state_goes_on_where_it_was():
    made = weights([1.0, 3.0], [4.0])
    whole, first, second = (Accumulator(made, Gradient()) for _ in range(3))
    whole.add()
    first.add()
    state = first.state_dict()
    set_gradients(made, [5.0, 0.0], [1.0])
    whole.add()
    first.add()
    second.load_state_dict(state)
    second.add()
    for a, b in zip(whole.mean(), second.mean(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("criterion", [Gradient(), Taylor(), Movement()])
@pytest.mark.parametrize("tile", [1, 8, 13, 1000])
def test_tiles_change_nothing(criterion, tile):
    tiled, at_once = random_steps(
        [
            lambda made: Accumulator(made, criterion, tile=tile),
            lambda made: Accumulator(made, criterion, tile=10_000),
        ]
    )
    for mine, expected in zip(tiled.mean(), at_once.mean(), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-6, atol=0)


def test_a_piece_of_the_mean():
    (accumulator,) = random_steps([lambda made: Accumulator(made, Taylor(), tile=8)])
    means = accumulator.mean()
    for tile in tiles_of([torch.Size(shape) for shape in SHAPES], 5):
        for piece in tile:
            assert torch.equal(accumulator.mean_of(piece), piece.of(means).flatten())
