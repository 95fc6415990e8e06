"""What remains of tensors, and the way back."""

from __future__ import annotations

import torch
from torch import nn

from lightning_prune.compaction.plan import Cut
from lightning_prune.compaction.remaining import Remaining
from lightning_prune.units.group import Axis
from lightning_prune.units.weight_mask import WeightMask

FULL = torch.arange(12.0).reshape(3, 4)
REMAINING = Remaining({Axis("w", 0): Cut((0, 2), 3), Axis("w", 1): Cut((1, 3), 4)})


def test_narrowed_is_what_stays_along_every_axis() -> None:
    assert REMAINING.narrowed("w", FULL).tolist() == [[1.0, 3.0], [9.0, 11.0]]


def test_widened_has_zeros_where_something_was_removed() -> None:
    wide = REMAINING.widened("w", torch.tensor([[1.0, 3.0], [9.0, 11.0]]))
    assert wide.tolist() == [[0, 1, 0, 3], [0, 0, 0, 0], [0, 9, 0, 11]]


def test_elsewhere_is_kept_where_it_is_given() -> None:
    wide = REMAINING.widened("w", torch.full((2, 2), 50.0), FULL)
    assert wide.tolist() == [[0, 50, 2, 50], [4, 5, 6, 7], [8, 50, 10, 50]]


def test_two_compactions_are_one() -> None:
    both = REMAINING.then(Remaining({Axis("w", 0): Cut((1,), 2), Axis("v", 0): Cut((0,), 2)}))
    assert both.narrowed("w", FULL).tolist() == [[9.0, 11.0]]
    assert both.full_shape("w", torch.Size([1, 2])) == FULL.shape
    assert both.full_shape("v", torch.Size([1])) == torch.Size([2])
    assert REMAINING.narrowed("w", FULL).tolist() == [[1.0, 3.0], [9.0, 11.0]]


def test_other_tensors_stay() -> None:
    assert REMAINING.widened("b", FULL) is FULL
    assert REMAINING.narrowed("b", FULL) is FULL
    assert REMAINING
    assert not Remaining()


def test_a_mask_is_narrowed_along_axes_and_weight_by_weight() -> None:
    rows, single = torch.tensor([True, False, False]), torch.arange(12) % 4 != 1
    mask = REMAINING.narrowed_mask("w", WeightMask(FULL.shape, {0: rows, -1: single}))
    assert mask.whole().tolist() == [[False, True], [False, False]]


def test_tied_tensors_are_known_by_each_name() -> None:
    model = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
    model[1].weight = model[0].weight
    remaining = Remaining({Axis("0.weight", 0): Cut((1,), 3)}, model)
    assert remaining.narrowed("1.weight", FULL).tolist() == [[4.0, 5.0, 6.0, 7.0]]
