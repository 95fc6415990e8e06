"""States from before a compaction load into the compact module."""

import copy
import pickle

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.compaction.full_size_states import FullSizeStates
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(3, 4)


def make_net():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
    net.append(nn.Linear(6, 2)).eval()
    return net


def kill(net, layer: int, units):
    with torch.no_grad():
        net[layer].weight[units] = 0
        net[layer].bias[units] = 0
        if layer == 0:
            net[1].bias[units] = 0
            net[1].weight[units] = 0


def compacted(net):
    states = FullSizeStates(net, [ExampleInputs((X,))])
    lp.compact(net, X, latency=False)
    states.attach(net)
    return net


def test_a_state_of_the_full_size_is_shrunk():
    net = make_net()
    kill(net, 0, [1, 2, 5])
    dense = copy.deepcopy(net)
    compacted(net)
    with torch.no_grad():  # another epoch, other weights, the same zeros
        dense[3].weight.mul_(2)
        dense[1].running_mean.add_(1)
    net.load_state_dict(dense.state_dict())
    assert net[0].out_features == 5
    assert torch.allclose(net(X), dense(X), atol=1e-6)


def test_states_from_before_two_compactions():
    net = make_net()
    kill(net, 0, [1, 2, 5])
    kill(net, 3, [0])
    full = copy.deepcopy(net)
    with torch.no_grad():
        net[3].weight[0] = 1  # at first, this unit lives
    compacted(net)
    kill(net, 3, [0])
    middle = copy.deepcopy(net)
    compacted(net)
    assert (net[0].out_features, net[3].out_features) == (5, 5)
    for state in (full, middle, net):
        expected = state(X)
        if state is full:
            # Its extra zeros do not let it take the middle size.
            with pytest.raises(ValueError, match=r"but got 3\.weight"):
                net.load_state_dict(state.state_dict())
            continue
        net.load_state_dict(copy.deepcopy(state.state_dict()))
        assert torch.allclose(net(X), expected, atol=1e-6)


def test_a_compact_state_and_a_wrong_one_are_left_to_torch():
    net = make_net()
    kill(net, 0, [1])
    compacted(net)
    net.load_state_dict(net.state_dict())
    wrong = nn.Sequential(nn.Linear(4, 3)).state_dict()
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict(wrong)


def test_a_state_without_the_zeros_is_refused_and_nothing_changes():
    net = make_net()
    dense = make_net().state_dict()
    kill(net, 0, [1, 2])
    compacted(net)
    before = net(X)
    with pytest.raises(ValueError, match=r"zeros where the compact .* got 0\.weight \(8, 4\) for"):
        net.load_state_dict(dense)
    assert torch.equal(net(X), before)


def test_a_compact_module_inside_another_pickled_and_copied():
    net = make_net()
    kill(net, 0, [1, 2])
    dense = copy.deepcopy(net).state_dict()
    compacted(net)
    for outer in (nn.ModuleDict({"net": net}), copy.deepcopy(nn.ModuleDict({"net": net}))):
        outer.load_state_dict({f"net.{name}": tensor for name, tensor in dense.items()})
    again = pickle.loads(pickle.dumps(net))
    again.load_state_dict(dense)
    assert torch.equal(again(X), net(X))


def test_the_dense_parameters_take_no_memory():
    net = make_net()
    states = FullSizeStates(net, [ExampleInputs((X,))])
    assert sum(p.numel() for p in states._dense._structure.parameters()) == 0
    assert net[0].weight.shape == (8, 4)
