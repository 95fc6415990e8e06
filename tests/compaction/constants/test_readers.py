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


class Layers(nn.Module):
    """Two linear layers whose second one is used as a function says."""

    def __init__(self, use):
        super().__init__()
        self.write, self.head = nn.Linear(5, 3), nn.Linear(4, 2)
        self.weight, self.bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
        self.use = use

    def forward(self, x):
        return self.head(self.use(self, F.relu(self.write(x.flatten(0, 2)))))


def linear(m, y):
    return F.linear(y, m.weight, m.bias)


def test_a_linear_layer_reads_its_last_dimension():
    (reader,) = found(Layers(linear))
    assert (reader.bias, reader.target) == ("bias", "bias")
    for use in reader.uses:
        assert (use.channel, use.pads, use.data) == (-1, False, use.node.args[0])


class Addmm(Layers):
    """A weight that lies the other way round, scaled or not."""

    def __init__(self, **scales):
        super().__init__(lambda m, y: torch.addmm(m.bias, y, m.weight, **scales))
        self.weight = nn.Parameter(torch.randn(3, 4))


def test_a_product_with_a_sum_reads_the_rows_of_its_weight():
    (reader,) = found(Addmm())
    assert (reader.member.axis.dim, reader.bias) == (0, "bias")
    for use in reader.uses:
        assert (use.channel, use.data) == (-1, use.node.args[1])


NOT_PLAIN = {
    "a scaled product": (lambda: Addmm(alpha=2), "in a plain product, once"),
    "a scaled bias": (lambda: Addmm(beta=2), "in a plain product, once"),
    "both scaled": (lambda: Addmm(alpha=2, beta=2), "in a plain product, once"),
    "used twice": (
        lambda: Layers(lambda m, y: linear(m, y) + F.linear(2 * y, m.weight)),
        "in a plain product, once",
    ),
    "a bias used twice": (lambda: Layers(lambda m, y: linear(m, y) + m.bias), "no bias of its own"),
}


@pytest.mark.parametrize(("build", "reason"), NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_a_weight_that_is_used_otherwise_takes_up_nothing(build, reason):
    with pytest.raises(Unfoldable, match=reason):
        found(build())


@pytest.mark.parametrize(
    ("padding", "pads"), [(0, False), (1, True), ("valid", False), ("same", True)]
)
def test_padding_puts_zeros_around_what_is_read(padding, pads):
    model = Padded()
    model.read = nn.Conv2d(3, 4, 3, padding=padding)
    (reader,) = found(model)
    assert [use.pads for use in reader.uses] == [pads] * 2


@pytest.mark.parametrize("norm", [False, True])
def test_a_bias_that_two_layers_share_is_of_neither(norm):
    model = Padded(norm=norm)
    model.also = nn.Conv2d(2, 4, 3, padding=1)
    model.also.bias = model.read.bias
    model.behind = lambda y: model.norm(y) + model.also(X)
    with pytest.raises(Unfoldable, match="no bias of its own"):
        found(model)


class AlsoReturned(Padded):
    def forward(self, x):
        y = self.read(F.relu(self.write(x)))
        return self.head(self.norm(y)), y


def test_a_batch_norm_does_not_serve_for_what_the_model_returns_too():
    with pytest.raises(Unfoldable, match="no bias of its own"):
        found(AlsoReturned(bias=False, norm=True))
