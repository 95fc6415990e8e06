"""Every change is written down before it is made, and can be taken back more than once."""

import pytest
import torch
from torch import nn

from lightning_prune.compaction.ledger import Ledger, hold


def test_a_tensor_with_its_gradient_is_brought_back():
    layer, ledger = nn.Linear(3, 2), Ledger()
    layer.weight.grad = gradient = torch.ones(2, 3)
    address = layer.weight.data_ptr()
    ledger.replace(layer.weight, torch.zeros(0, 3))
    assert not layer.weight.requires_grad
    ledger.undo()
    assert (layer.weight.data_ptr(), layer.weight.requires_grad) == (address, True)
    assert layer.weight.grad is gradient


def test_a_tensor_that_is_frozen_keeps_its_values():
    layer, ledger = nn.Linear(3, 2), Ledger()
    values = layer.weight.tolist()
    ledger.freeze(layer.weight)
    assert (layer.weight.requires_grad, layer.weight.tolist()) == (False, values)
    ledger.undo()
    assert layer.weight.requires_grad


def test_attributes_that_were_missing_go_again():
    layer, ledger = nn.Linear(3, 2), Ledger()
    ledger.set(layer, "full_width", 8)
    ledger.set(layer, "full_width", 9)
    assert layer.full_width == 9
    ledger.undo()
    assert not hasattr(layer, "full_width")


def test_an_attribute_that_is_right_is_not_written_down():
    layer, ledger = nn.Linear(3, 2), Ledger()
    ledger.set(layer, "in_features", 3)
    ledger.set_class(layer, nn.Linear)
    assert ledger.mark() == 0


class Slotted(nn.Linear):
    __slots__ = ("more",)


def test_a_class_of_another_layout_raises_and_nothing_is_lost():
    layer, ledger = nn.Linear(3, 2), Ledger()
    with pytest.raises(TypeError, match="layout differs"):
        ledger.set_class(layer, Slotted)
    ledger.undo()
    assert type(layer) is nn.Linear


def test_a_buffer_that_was_computed_is_replaced():
    module, ledger = nn.Module(), Ledger()
    computed = torch.ones(3, requires_grad=True) * 2
    module.register_buffer("computed", computed)
    ledger.replace(computed, torch.zeros(2))
    assert computed.tolist() == [0, 0]
    ledger.undo()
    assert computed.tolist() == [2, 2, 2]


def test_autograd_forgets_the_shape_that_a_tensor_had():
    weight = nn.Parameter(torch.ones(3))
    older = weight * 2
    hold(weight, torch.ones(2))
    (weight * 3).sum().backward()
    assert weight.grad.tolist() == [3, 3]
    assert older.shape == (3,)
