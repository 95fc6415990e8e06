"""Fixed values are zeroed with the units, and given back where units are kept again."""

import copy

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.coupling import couple
from lightning_prune.pruning.masks import Masks

X = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))


class Positions(nn.Module):
    """A stream of 4 units to which positions are added."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        table = torch.arange(1.0, 25.0).reshape(6, 4)
        if frozen:
            self.table = nn.Parameter(table, requires_grad=False)
        else:
            self.register_buffer("table", table)
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x) + self.table[: x.shape[1]]))


KEPT = torch.tensor([True, False, True, False])
ALL = torch.ones(4, dtype=torch.bool)
each = pytest.mark.parametrize("frozen", [False, True])


def masked(frozen: bool) -> tuple[Positions, Masks]:
    model = Positions(frozen)
    masks = Masks(model, couple(model, X).groups)
    masks.keep([KEPT])
    return model, masks


@each
def test_they_are_zeroed_and_given_back(frozen: bool) -> None:
    full = Positions(frozen).table
    model, masks = masked(frozen)
    assert torch.equal(model.table, full * KEPT)
    masks.keep([~KEPT])
    assert torch.equal(model.table, full * ~KEPT)
    masks.release()
    assert torch.equal(model.table, full)


@each
def test_a_resumed_run_gives_back_what_the_first_one_zeroed(frozen: bool) -> None:
    full = Positions(frozen).table
    model, masks = masked(frozen)
    state, weights = copy.deepcopy(masks.state_dict()), copy.deepcopy(model.state_dict())
    other = Positions(frozen)
    resumed = Masks(other, couple(other, X).groups)
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert torch.equal(other.table, full * KEPT)
    resumed.keep([ALL])
    assert torch.equal(other.table, full)


@each
def test_masks_that_take_over_from_others_give_back_what_those_zeroed(frozen: bool) -> None:
    model, masks = masked(frozen)
    wider = Masks(model, couple(Positions(frozen), X).groups)
    wider.adopt(masks)
    assert torch.equal(model.table, Positions(frozen).table * KEPT)
    wider.keep([ALL])
    assert torch.equal(model.table, Positions(frozen).table)


def test_a_buffer_that_moved_is_found_again() -> None:
    model, masks = masked(frozen=False)
    model.double()
    masks.keep([ALL])
    assert torch.equal(model.table, Positions(frozen=False).table.double())


def test_a_parameter_that_is_trained_again_is_a_weight() -> None:
    model, masks = masked(frozen=True)
    model.table.requires_grad_(True)
    masks.release()
    assert not torch.equal(model.table, Positions(frozen=True).table)


def test_an_average_of_the_weights_loses_them_too() -> None:
    model, masks = masked(frozen=False)
    average = Positions(frozen=False)
    masks.apply_to_copy(average)
    assert torch.equal(average.table, model.table)
    state = Positions(frozen=False).state_dict()
    masks.clear(state)
    assert torch.equal(state["table"], model.table)


@each
def test_a_stream_with_positions_is_pruned_and_compacted(frozen: bool) -> None:
    model = Positions(frozen)
    lp.prune(model, X, sparsity=0.5, criterion=lp.Random())
    assert lp.compact(model, X, latency=False).refused == {}
    assert model.table.shape == (6, 2)


def test_a_sensitivity_leaves_them_as_they_are() -> None:
    model = Positions(frozen=False)
    full = model.table.clone()
    seen = []

    def metric(changed: nn.Module, data: Tensor) -> float:
        seen.append(int((changed.table == 0).all(0).sum()))
        return float(changed(data).sum())

    lp.sensitivity(model, X, metric, example_inputs=X, sparsities=[0.5])
    assert max(seen) == 2
    assert torch.equal(model.table, full)
