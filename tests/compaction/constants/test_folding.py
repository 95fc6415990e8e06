"""Dead units that read as a constant go where their readers can take it up, and stay elsewhere."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from support.oracle import TOLERANCE, outputs, randomize, relative_error
from torch import nn

from lightning_prune.compaction import compact

X = torch.randn(3, 4)
IMAGE = torch.randn(3, 3, 8, 8)


def compacted(net, x, dead, *, bias=True):
    """Zero the weights (not the biases) that write some units and compact."""
    net = randomize(net).double().eval()
    with torch.no_grad():
        net.first.weight[dead] = 0
        if not bias:
            net.first.bias[dead] = 0
    before = copy.deepcopy(net)
    report = compact(net, x.double(), latency=False)
    error = relative_error(outputs(before, [x.double()]), outputs(net, [x.double()]))
    return report, net, error


def mlp(function=F.relu, **parts):
    return Net(
        lambda m, x: m.last(function(m.first(x))),
        first=nn.Linear(4, 8),
        last=nn.Linear(8, 2),
        **parts,
    )


@pytest.mark.parametrize("function", [F.relu, torch.sigmoid, torch.exp, F.gelu])
def test_a_constant_goes_into_the_bias_of_a_linear_layer(function):
    report, net, error = compacted(mlp(function), X, [1, 5])
    assert net.first.weight.shape == (6, 4)
    assert report.removed == 2
    assert report.constant == {}
    assert error <= TOLERANCE


def test_the_bias_holds_the_sum_over_what_went():
    net = randomize(mlp(torch.sigmoid)).double()
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
        expected = net.last.bias + net.last.weight[:, [1, 5]] @ net.first.bias[[1, 5]].sigmoid()
    compact(net, X.double(), latency=False)
    torch.testing.assert_close(net.last.bias.detach(), expected.detach())


def test_a_convolution_takes_it_up_over_its_kernel():
    net = Net(
        lambda m, x: m.last(m.first(x).sigmoid()),
        first=nn.Conv2d(3, 8, 3, padding=1),
        last=nn.Conv2d(8, 2, 3),
    )
    report, net, error = compacted(net, IMAGE, [0, 3])
    assert net.last.weight.shape == (2, 6, 3, 3)
    assert error <= TOLERANCE
    assert report.constant == {}


def padded(**options):
    return Net(
        lambda m, x: m.last(m.first(x).sigmoid()),
        first=nn.Conv2d(3, 8, 3),
        last=nn.Conv2d(8, 2, 3, padding=1, **options),
    )


def test_at_borders_padded_with_zeros_it_stays_with_the_reason():
    report, net, error = compacted(padded(), IMAGE, [0, 3])
    assert net.first.weight.shape == (8, 3, 3, 3)
    assert report.constant["first"].endswith("last.weight reads it, which pads it with zeros")
    assert "kept constant: first" in str(report)
    assert error == 0


def test_borders_that_repeat_the_image_are_no_obstacle():
    _, net, error = compacted(padded(padding_mode="replicate"), IMAGE, [0, 3])
    assert net.first.weight.shape == (6, 3, 3, 3)
    assert error <= TOLERANCE


def test_a_batch_norm_behind_a_reader_without_bias_takes_it_up():
    net = Net(
        lambda m, x: m.norm(m.last(m.first(x).sigmoid())),
        first=nn.Conv2d(3, 8, 3),
        last=nn.Conv2d(8, 2, 1, bias=False),
        norm=nn.BatchNorm2d(2),
    )
    report, net, error = compacted(net, IMAGE, [0, 3])
    assert net.last.weight.shape == (2, 6, 1, 1)
    assert report.constant == {}
    assert error <= TOLERANCE


def test_without_a_bias_it_stays_with_the_reason():
    net = mlp(torch.sigmoid)
    net.last = nn.Linear(8, 2, bias=False)
    report, _, _ = compacted(net, X, [1, 5])
    assert report.removed == 0
    assert "last.weight has no bias to take it up" in report.constant["first"]


def test_a_batch_norm_shifts_a_dead_channel_to_a_constant():
    net = Net(
        lambda m, x: m.last(F.relu(m.norm(m.first(x)))),
        first=nn.Conv2d(3, 8, 3),
        norm=nn.BatchNorm2d(8),
        last=nn.Conv2d(8, 2, 3),
    )
    _, net, error = compacted(net, IMAGE, [2, 6])
    assert len(net.norm.running_mean) == 6
    assert error <= TOLERANCE


def test_a_dead_scale_of_a_batch_norm_is_enough():
    net = randomize(
        Net(
            lambda m, x: m.last(F.relu(m.norm(m.first(x)))),
            first=nn.Conv2d(3, 8, 3),
            norm=nn.BatchNorm2d(8),
            last=nn.Conv2d(8, 2, 3),
        )
    ).double()
    with torch.no_grad():
        net.norm.weight[[1, 2]] = 0
    before = copy.deepcopy(net.eval())
    report = compact(net, IMAGE.double(), latency=False)
    assert report.removed == 2
    assert relative_error(outputs(before, [IMAGE.double()]), outputs(net, [IMAGE.double()])) <= (
        TOLERANCE
    )


def test_what_only_looks_dead_stays():
    net = Net(
        lambda m, x: m.last(m.first(x) + m.other(x)),
        first=nn.Linear(4, 8),
        other=nn.Linear(4, 8),
        last=nn.Linear(8, 2),
    )
    report, _, error = compacted(net, X, [1, 5])
    assert report.removed == 0
    assert "not the same everywhere" in report.constant["first"]
    assert error == 0


def test_every_reader_takes_up_its_share():
    net = Net(
        lambda m, x: (m.last(m.first(x).exp()), m.second(m.first(x).exp())),
        first=nn.Linear(4, 8),
        last=nn.Linear(8, 2),
        second=nn.Linear(8, 3),
    )
    _, net, error = compacted(net, X, [1, 5])
    assert net.second.weight.shape == (3, 6)
    assert error <= TOLERANCE


def test_in_float32_the_bias_is_rounded_and_the_compact_model_still_proved():
    net = randomize(mlp(torch.sigmoid)).eval()
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
    before = copy.deepcopy(net)
    report = compact(net, X, latency=False)
    assert report.removed == 2
    assert relative_error(outputs(before, [X]), outputs(net, [X])) <= 1e-5


def test_a_model_that_fails_afterwards_is_exactly_as_it_was(monkeypatch):
    from lightning_prune.compaction.removal import Removal

    def interrupt(self, *arguments):
        raise KeyboardInterrupt

    net = randomize(mlp(torch.sigmoid)).eval()
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
    state = copy.deepcopy(net.state_dict())
    monkeypatch.setattr(Removal, "attempt", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compact(net, X)
    assert all(torch.equal(t, state[name]) for name, t in net.state_dict().items())
