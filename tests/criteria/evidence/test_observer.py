import copy

import pytest
import torch
from torch import nn

from lightning_prune.criteria.evidence.observer import Observer, observable


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.up = nn.ConvTranspose2d(4, 2, 2)
        self.fc = nn.Linear(2, 5)

    def forward(self, x):
        return self.fc(input=self.up(self.depthwise(self.conv(x))).mean((2, 3)))


def squares(inputs, dim):
    return inputs.square().movedim(dim, 0).flatten(1).mean(1)


def observe(net, batches, *, only_training=False):
    observer = Observer(observable(net), squares)
    observer.start(only_training=only_training)
    for batch in batches:
        net(batch)
    observer.stop()
    return observer


def test_ungrouped_layers_are_watched():
    assert sorted(observable(Net())) == ["conv.weight", "fc.weight", "up.weight"]


def test_means_over_batches_and_positions():
    net, batches = Net(), torch.randn(3, 2, 3, 8, 8)
    observer = observe(net, batches)
    means = observer.means()
    expected = batches.square().mean((0, 1, 3, 4))
    assert torch.allclose(means["conv.weight"].flatten(), expected, rtol=1e-6)
    assert {n: tuple(observer.like_weight(n, m).shape) for n, m in means.items()} == {
        "conv.weight": (1, 3, 1, 1),
        "up.weight": (4, 1, 1, 1),
        "fc.weight": (1, 2),
    }


def test_evaluation_does_not_count_while_training():
    net, batches = Net(), torch.randn(2, 2, 3, 8, 8)
    assert not observe(net.eval(), batches, only_training=True).ready
    assert observe(net.train(), batches, only_training=True).ready


def test_no_hook_stays_and_a_copy_does_not_count():
    net = Net()
    observer = Observer(observable(net), squares)
    observer.start(only_training=False)
    copy.deepcopy(net)(torch.randn(1, 3, 8, 8))
    assert not observer.ready
    observer.start(only_training=False)
    assert sum(len(m._forward_pre_hooks) for m in net.modules()) == 3
    observer.stop()
    assert sum(len(m._forward_pre_hooks) for m in net.modules()) == 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_batch_that_is_not_finite_does_not_count(bad):
    net = Net()
    good = torch.randn(2, 3, 8, 8)
    broken = good.clone()
    broken[0, 0, 0, 0] = bad
    only = observe(net, [good]).means()
    for batches in ([broken, good], [good, broken]):
        both = observe(net, batches).means()
        assert torch.equal(only["conv.weight"], both["conv.weight"])
        assert both["fc.weight"].isfinite().all()


def test_the_state_goes_on_where_it_was():
    net, batches = Net(), torch.randn(2, 2, 3, 8, 8)
    whole = observe(net, batches).means()
    resumed = Observer(observable(net), squares)
    resumed.load_state_dict(observe(net, batches[:1]).state_dict())
    resumed.start(only_training=False)
    net(batches[1])
    assert all(torch.equal(whole[n], m) for n, m in resumed.means().items())


def test_ranks_add_up():
    net, batches = Net(), torch.randn(2, 2, 3, 8, 8)
    observer = observe(net, batches)
    means = observer.means()
    observer.reduce(lambda part: 2 * part)  # two ranks that saw the same
    assert all(torch.allclose(means[n], m) for n, m in observer.means().items())


def test_forgets():
    observer = observe(Net(), torch.randn(1, 2, 3, 8, 8))
    observer.reset()
    assert not observer.ready
