import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_prune.compaction.constants.readers import Unfoldable, measure, readers_of
from lightning_prune.coupling import couple
from lightning_prune.modules.inputs import ExampleInputs


class Padded(nn.Module):
    """Two convolutions; the first writes 3 channels, of which channel 1 is to be constant."""

    def __init__(self, *, bias=True, norm=False):
        super().__init__()
        self.write = nn.Conv2d(2, 3, 1)
        self.read = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.head = nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.write.weight[1] = 0.0
            self.write.bias[1] = 0.75

    def forward(self, x):
        return self.head(self.norm(self.read(F.relu(self.write(x)))))


X = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
UNITS = torch.tensor([False, True, False])


def found(model, units=UNITS):
    coupling = couple(model, X)
    group = next(group for group in coupling.groups if group.name == "write")
    return readers_of(group, units, coupling.traces.traces[0])


def test_a_reader_is_known_by_its_weight_bias_and_padding():
    (reader,) = found(Padded())
    assert (reader.member.axis.tensor, reader.bias, reader.mean) == (
        "read.weight",
        "read.bias",
        None,
    )
    assert reader.pads


def test_without_a_bias_the_mean_of_the_batch_norm_behind_it_serves():
    (reader,) = found(Padded(bias=False, norm=True))
    assert (reader.bias, reader.mean) == (None, "norm.running_mean")


def test_what_cannot_take_up_a_constant_is_said():
    with pytest.raises(Unfoldable, match=r"read.weight has no bias to take it up"):
        found(Padded(bias=False))


def test_only_constant_channels_are_measured_as_a_number():
    model = Padded().eval()
    (reader,) = found(model)
    values = measure(model, [ExampleInputs.of(X), ExampleInputs.of(2 * X)], [reader])[reader.index]
    assert values.isnan().tolist() == [True, False, True]
    assert values[1].item() == pytest.approx(0.75, abs=1e-7)


def test_nothing_to_measure_runs_nothing():
    assert measure(Padded(), [], []) == {}
