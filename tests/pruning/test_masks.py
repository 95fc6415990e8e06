"""Masks keep, zero and store; they choose nothing."""

import copy

import pytest
import torch
from torch import nn

from lightning_prune.pruning.masks import Masks
from lightning_prune.units.group import Axis, Group, Member


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def neurons() -> Group:
    members = (
        Member(Axis("0.weight", 0), "out", 4),
        Member(Axis("0.bias", 0), "out", 4),
        Member(Axis("2.weight", 1), "in", 4),
    )
    return Group("0", 4, members)


KEPT = torch.tensor([True, False, True, False])


def masked() -> tuple[nn.Sequential, Masks]:
    model = net()
    masks = Masks(model, [neurons()])
    masks.keep([KEPT])
    return model, masks


def test_at_first_everything_is_kept() -> None:
    masks = Masks(net(), [neurons()])
    assert dict(masks) == {}
    assert (masks.removed, [kept.all() for kept in masks.kept]) == ([0], [True])


def test_what_is_not_kept_is_zero_on_every_side() -> None:
    model, masks = masked()
    assert set(masks) == {"0.weight", "0.bias", "2.weight"}
    assert masks.removed == [2]
    assert model[0].weight.any(1).tolist() == KEPT.tolist()
    assert model[0].bias.bool().tolist() == KEPT.tolist()
    assert model[2].weight.any(0).tolist() == KEPT.tolist()
    assert torch.equal(masks["2.weight"], KEPT.expand(2, 4))


def test_weights_are_zeroed_again_among_those_that_are_given() -> None:
    model, masks = masked()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    masks.apply([model[0].weight])
    assert not model[0].weight[~KEPT].any()
    assert model[0].bias[~KEPT].all()
    assert masks.clear() == {"0.bias": 2, "2.weight": 4}
    assert masks.clear() == {}


def test_copies_gradients_and_optimizers_are_masked() -> None:
    model, masks = masked()
    average = net()
    masks.apply_to_copy(average)
    assert not average[0].weight[~KEPT].any()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(8, 3)).square().sum().backward()
    for parameter in model.parameters():
        parameter.grad.add_(1.0)
    optimizer.step()
    masks.apply_to_gradients()
    masks.apply_to_optimizer(optimizer)
    momentum = optimizer.state[model[0].weight]["momentum_buffer"]
    for tensor in (model[0].weight.grad, momentum):
        assert not tensor[~KEPT].any()
        assert tensor[KEPT].any()


def test_released_units_start_again() -> None:
    model, masks = masked()
    masks.release()
    assert (dict(masks), masks.removed) == ({}, [0])
    assert model[0].weight.any(1).all()


def test_they_know_the_parameters_that_they_mask() -> None:
    model, masks = masked()
    assert masks.bind(model)
    assert not masks.bind(copy.deepcopy(model))


def test_the_state_comes_back_and_has_a_checksum() -> None:
    _, masks = masked()
    other = Masks(net(), [neurons()])
    assert other.fingerprint() != masks.fingerprint()
    other.load_state_dict(masks.state_dict())
    assert other.fingerprint() == masks.fingerprint()
    assert torch.equal(other.kept[0], KEPT)
    with pytest.raises(ValueError, match="0 with 4 units instead of none"):
        Masks(net(), [Group("1", 4, neurons().members)]).load_state_dict(masks.state_dict())


def test_groups_that_both_know_are_taken_over() -> None:
    model, masks = masked()
    last = Group("2", 2, (Member(Axis("2.weight", 0), "out", 2),))
    wider = Masks(model, [last, neurons()])
    wider.adopt(masks)
    assert wider.removed == [0, 2]
