"""Statistics of batch norms after an update: those of the data, where the update reaches."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
        self.end = nn.Sequential(nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.middle(self.stem(x)))


BATCHES = list(torch.randn(40, 3, 8, 8, generator=torch.manual_seed(1)).split(20))


def trained() -> Net:
    net = Net().train()
    for _ in range(60):
        for batch in BATCHES:
            net(batch)
    return net.eval()


def pruned(net: Net, **options: Any) -> Net:
    chosen = {"of": "units", "criterion": lp.Magnitude(), "include": ["middle.0"]}
    lp.prune(net, BATCHES[0], sparsity=0.5, **(chosen | {"batches": BATCHES} | options))
    return net


def read_by_the_last_norm(net: Net) -> Tensor:
    with torch.no_grad():
        return torch.cat([net.end[0](net.middle(net.stem(batch))) for batch in BATCHES])


def test_a_norm_behind_removed_units_has_the_statistics_of_what_it_reads() -> None:
    net = pruned(trained())
    read = read_by_the_last_norm(net)
    assert torch.allclose(net.end[1].running_mean, read.mean((0, 2, 3)), atol=1e-5)
    parts = [part.var((0, 2, 3)) for part in read.split(20)]
    assert torch.allclose(net.end[1].running_var, torch.stack(parts).mean(0), atol=1e-5)
    assert not net.training
    assert net.end[1].momentum == 0.1


def test_a_norm_in_front_of_them_keeps_its_own() -> None:
    before = trained().state_dict()
    after = pruned(trained()).state_dict()
    for name in before:
        if name.startswith("stem.1") or name.endswith("num_batches_tracked"):
            assert torch.equal(before[name], after[name])


def test_none_changes_where_that_is_not_wanted_or_there_are_no_batches() -> None:
    before = trained().state_dict()
    for options in ({"renew_norms": False}, {"batches": None}):
        after = pruned(trained(), **options).state_dict()
        norms = [name for name in before if "running" in name]
        assert all(torch.equal(before[name], after[name]) for name in norms)


def test_one_value_for_a_channel_is_no_statistic() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2)).eval()
    x = torch.randn(1, 3)
    options = {"of": "units", "criterion": lp.Magnitude(), "batches": [x]}
    before = net[3].running_var.clone()
    lp.prune(net, x, sparsity=0.5, **options)
    assert torch.equal(net[3].running_var, before)


@pytest.mark.parametrize("renew_norms", [0, None, "yes"])
def test_what_is_no_flag_is_refused(renew_norms: Any) -> None:
    with pytest.raises(TypeError, match="Expected `renew_norms` to be"):
        pruned(Net(), renew_norms=renew_norms)


class Domains(nn.Module):
    """Has a norm for each of two kinds of images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        return self.norms[int(kind)](self.second(self.first(x).relu()))


def test_a_norm_that_few_batches_reach_is_renewed_too() -> None:
    net = Domains().eval()
    kinds = [0] * 15 + [1]
    batches = [(torch.randn(8, 3, 8, 8), torch.tensor(kind)) for kind in kinds]
    examples = [batches[0], batches[-1]]
    options = {"criterion": lp.Magnitude(), "include": ["first"], "batches": batches}
    lp.prune(net, examples, sparsity=0.5, **options)
    with torch.no_grad():
        read = net.second(net.first(batches[-1][0]).relu())
    assert torch.allclose(net.norms[1].running_mean, read.mean((0, 2, 3)), atol=1e-5)
