import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune.compaction.constants.readers import Readers, Unfoldable
from lightning_prune.coupling import couple


class Padded(nn.Module):
    """Two convolutions, and what stands behind the second one, which reads."""

    def __init__(self, *, bias=True, norm=False):
        super().__init__()
        self.write = nn.Conv2d(2, 3, 1)
        self.read = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(self.behind(self.read(F.relu(self.write(x)))))

    def behind(self, x):
        return self.norm(x)


class SharedNorm(Padded):
    def behind(self, x):
        return self.norm(self.norm(x))


class NormAndMore(Padded):
    def behind(self, x):
        return self.norm(x) + x


class NormAndMoreInTraining(Padded):
    def behind(self, x):
        return self.norm(x) + x if self.training else self.norm(x)


class OnlyInTraining(Padded):
    def forward(self, x):
        return super().forward(x) if self.training else self.write(x).relu().mean(1)


X = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))


def found(model):
    coupling = couple(model, X)
    group = next(group for group in coupling.groups if group.name == "write")
    return Readers(coupling.traces.traces).of(group)


def test_a_reader_is_known_by_its_weight_bias_and_uses():
    (reader,) = found(Padded())
    assert reader.member.axis.tensor == "read.weight"
    assert (reader.bias, reader.mean, reader.target) == ("read.bias", None, "read.bias")
    assert [(use.trace, use.pads, use.channel) for use in reader.uses] == [
        (0, True, -3),
        (1, True, -3),
    ]


def test_without_a_bias_the_mean_of_the_batch_norm_behind_it_serves():
    (reader,) = found(Padded(bias=False, norm=True))
    assert (reader.bias, reader.mean) == (None, "norm.running_mean")
    assert reader.target == "norm.running_mean"


@pytest.mark.parametrize("kind", [SharedNorm, NormAndMore, NormAndMoreInTraining])
def test_a_batch_norm_that_serves_others_too_does_not(kind):
    with pytest.raises(Unfoldable, match=r"read.weight has no bias of its own to take it up"):
        found(kind(bias=False, norm=True))


def test_what_cannot_take_up_a_constant_is_said():
    with pytest.raises(Unfoldable, match=r"read.weight has no bias of its own to take it up"):
        found(Padded(bias=False))


def test_a_weight_in_groups_is_no_plain_product():
    model = Padded()
    model.read = nn.Conv2d(3, 3, 3, groups=3)
    model.head = nn.Conv2d(3, 2, 1)
    (reader,) = found(model)
    assert reader.member.axis.tensor == "head.weight"


def test_what_runs_in_one_mode_only_is_used_there():
    model = OnlyInTraining()
    coupling = couple(model, X)
    group = next((group for group in coupling.groups if group.name == "write"), None)
    assert group is None or [
        use.trace for reader in Readers(coupling.traces.traces).of(group) for use in reader.uses
    ] == [1]
