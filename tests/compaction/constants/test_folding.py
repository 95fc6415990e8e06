"""Units that are proved constant go where their readers can take them up, and stay elsewhere."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from support.oracle import TOLERANCE, outputs, randomize, relative_error
from torch import nn

from lightning_prune.compaction import compact

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(3, 6, 4)
TOKENS = torch.tensor([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
FULL = torch.ones(3, 6, dtype=torch.bool)
HALF = torch.tensor([[True, True, True, False, False, False]] * 3)


def error_between(before, net, *inputs):
    """Return the largest difference in eval and in train mode, dropout off."""
    return max(
        relative_error(outputs(before, inputs, training), outputs(net, inputs, training))
        for training in (False, True)
    )


def wide(x):
    return x.double() if x.is_floating_point() else x


def compacted(net, dead, *inputs, zero=("first.weight",)):
    """Zero rows of some weights, not the biases, and compact; in float64."""
    net = randomize(net).double().eval()
    with torch.no_grad():
        for name in zero:
            net.get_parameter(name)[dead] = 0
    before = copy.deepcopy(net)
    inputs = list(map(wide, inputs))
    report = compact(net, tuple(inputs), latency=False)
    assert error_between(before, net, *inputs) <= TOLERANCE
    assert report.max_rel_error <= 1e-5
    return report, net, before


def mlp(function=F.relu, **parts):
    return Net(
        lambda m, x: m.last(function(m.first(x))),
        first=nn.Linear(4, 8),
        **{"last": nn.Linear(8, 2), **parts},
    )


def images(function=torch.sigmoid, **parts):
    return Net(
        lambda m, x: m.last(function(m.first(x))),
        first=nn.Conv2d(3, 8, 3),
        **{"last": nn.Conv2d(8, 2, 3), **parts},
    )


# What is folded.


@pytest.mark.parametrize("function", [F.relu, torch.sigmoid, torch.exp, F.gelu, F.hardswish])
def test_a_constant_goes_into_the_bias_of_a_linear_layer(function):
    report, net, _ = compacted(mlp(function), [1, 5], X)
    assert net.first.weight.shape == (6, 4)
    assert report.removed == 2
    assert report.constant == {}


def test_the_bias_holds_the_sum_over_what_went():
    net = randomize(mlp(torch.sigmoid)).double()
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
        expected = net.last.bias + net.last.weight[:, [1, 5]] @ net.first.bias[[1, 5]].sigmoid()
    compact(net, X.double(), latency=False)
    torch.testing.assert_close(net.last.bias.detach(), expected.detach())


def test_a_bias_that_two_groups_share_is_rounded_once():
    def forward(m, x):
        return m.last(torch.cat([m.first(x), m.second(x)], 1))

    parts = {"first": nn.Linear(4, 3), "second": nn.Linear(4, 3), "last": nn.Linear(6, 2)}
    net = randomize(Net(forward, **parts)).eval()
    with torch.no_grad():
        net.first.weight[0], net.second.weight[1] = 0, 0
        wide = copy.deepcopy(net).double()
        columns, numbers = wide.last.weight[:, [0, 4]], [wide.first.bias[0], wide.second.bias[1]]
        expected = (wide.last.bias + columns @ torch.stack(numbers)).float()
    compact(net, X, latency=False)
    assert torch.equal(net.last.bias.detach(), expected)


CHANNELS = {
    "a convolution over its kernel": images(),
    "borders that repeat the image": images(
        last=nn.Conv2d(8, 2, 3, padding=1, padding_mode="replicate")
    ),
    "borders that go round": images(last=nn.Conv2d(8, 2, 3, padding=1, padding_mode="circular")),
    "a dead channel before it": images(function=lambda x: F.relu(x - 100)),
    "the mean of images": images(lambda x: x.mean((2, 3)), last=nn.Linear(8, 2)),
    "adaptive pooling": images(lambda x: F.adaptive_max_pool2d(x, 2), last=nn.Conv2d(8, 2, 1)),
    "pooling": images(lambda x: F.max_pool2d(F.avg_pool2d(x, 2), 3, 1, 1), last=nn.Conv2d(8, 2, 1)),
    "interpolation": images(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "rearranged": images(lambda x: x.flatten(2).transpose(1, 2), last=nn.Linear(8, 2)),
    "features of every place": images(lambda x: x.flatten(1), last=nn.Linear(288, 2)),
}  # fmt: skip


@pytest.mark.parametrize("net", CHANNELS.values(), ids=CHANNELS)
def test_a_constant_channel_goes_into_the_bias_behind(net):
    report, net, _ = compacted(copy.deepcopy(net), [0, 3], IMAGE)
    assert net.first.weight.shape == (6, 3, 3, 3)
    assert report.constant == {}


def test_a_constant_of_zero_does_not_mind_borders_of_zeros():
    net = images(lambda x: F.relu(x - 100), last=nn.Conv2d(8, 2, 3, padding=1))
    _, net, _ = compacted(net, [0, 3], IMAGE)
    assert net.last.weight.shape == (2, 6, 3, 3)


def test_a_batch_norm_behind_a_reader_without_bias_takes_it_up():
    net = Net(
        lambda m, x: m.norm(m.last(m.first(x).sigmoid())),
        first=nn.Conv2d(3, 8, 3),
        last=nn.Conv2d(8, 2, 1, bias=False),
        norm=nn.BatchNorm2d(2),
    )
    report, net, before = compacted(net, [0, 3], IMAGE)
    assert net.last.weight.shape == (2, 6, 1, 1)
    assert report.constant == {}
    for model in (net, before):
        model.train()(IMAGE.double())
    assert error_between(before, net, IMAGE.double()) <= TOLERANCE


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(8), nn.GroupNorm(8, 8)], ids=["batch", "group"])
def test_a_scale_of_zero_leaves_the_shift(norm):
    net = Net(
        lambda m, x: m.last(m.norm(m.first(x)).relu()),
        first=nn.Linear(4, 8),
        norm=norm,
        last=nn.Linear(8, 2),
    )
    _, net, _ = compacted(net, [1, 2], X, zero=["norm.weight"])
    assert net.last.weight.shape == (2, 6)


def test_every_reader_takes_up_its_share():
    net = Net(
        lambda m, x: (m.last(m.first(x).exp()), m.second(m.first(x).exp())),
        first=nn.Linear(4, 8),
        last=nn.Linear(8, 2),
        second=nn.Linear(8, 3),
    )
    _, net, _ = compacted(net, [1, 5], X)
    assert net.second.weight.shape == (3, 6)


WRITERS = {
    "a sum": lambda a, b: a + b,
    "a product": lambda a, b: a * b,
    "a gate": lambda a, b: a * torch.sigmoid(b),
}


def two(function):
    return Net(
        lambda m, x: m.last(function(m.first(x), m.other(x))),
        first=nn.Linear(4, 8),
        other=nn.Linear(4, 8),
        last=nn.Linear(8, 2),
    )


@pytest.mark.parametrize("function", WRITERS.values(), ids=WRITERS)
def test_all_writers_constant_is_constant(function):
    _, net, _ = compacted(two(function), [1, 5], X, zero=["first.weight", "other.weight"])
    assert net.last.weight.shape == (2, 6)


@pytest.mark.parametrize("function", WRITERS.values(), ids=WRITERS)
def test_one_writer_constant_is_not_enough(function):
    report = compacted(two(function), [1, 5], X)[0]
    assert report.removed == 0
    assert report.constant == {"first": "nothing proves that last.weight reads the same always"}


@pytest.mark.parametrize("sizes", [(8, 8), (4, 8)])
def test_a_factor_of_zero_is_enough(sizes):
    net = two(lambda a, b: a * b)
    _, net, _ = compacted(net, [1, 5], X, zero=["first.weight", "first.bias"])
    assert net.last.weight.shape == (2, 6)


HALVES = {"glu": lambda x: F.glu(x), "chunk": lambda x: torch.mul(*x.chunk(2, -1))}


@pytest.mark.parametrize("gate", HALVES.values(), ids=HALVES)
def test_both_halves_of_a_gated_layer(gate):
    net = Net(lambda m, x: m.last(gate(m.first(x))), first=nn.Linear(4, 16), last=nn.Linear(8, 2))
    _, net, _ = compacted(net, [1, 9], X)
    assert net.last.weight.shape == (2, 7)


def test_what_is_constant_behind_constants():
    net = Net(
        lambda m, x: m.last(m.second(m.first(x).exp()).exp()),
        first=nn.Linear(4, 8),
        second=nn.Linear(8, 8),
        last=nn.Linear(8, 2),
    )
    net = randomize(net).double().eval()
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
        net.second.weight[3, [0, 2, 3, 4, 6, 7]] = 0
    before = copy.deepcopy(net)
    compact(net, X.double(), latency=False)
    assert net.second.weight.shape == (7, 6)
    assert error_between(before, net, X.double()) <= TOLERANCE


# What stays.


class Tabled(nn.Module):
    """Adds rows of a table, cut to the length of what it is given."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
        self.table = nn.Parameter(torch.randn(1, rows, 8))

    def forward(self, x):
        return self.last(self.first(x) + self.table[:, : x.shape[1]])


class Masked(nn.Module):
    """Puts zeros where a mask says so, in some way."""

    def __init__(self, way, embedding=False) -> None:
        super().__init__()
        self.way, self.embedding = way, nn.Embedding(9, 4) if embedding else nn.Identity()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x, *masks):
        return self.last(self.way(self.first(self.embedding(x)), x, *masks))


def by_length(h, x, lengths):
    return h * (torch.arange(x.shape[1])[None] < lengths[:, None])[..., None]


# way, on these, on others
MASKS = {
    "bools": (lambda h, x, m: h.masked_fill(~m[..., None], 0.0), (ROWS, FULL), (ROWS, HALF)),
    "mixed bools": (lambda h, x, m: h.masked_fill(~m[..., None], 0.0), (ROWS, HALF), (ROWS, FULL)),
    "integers": (lambda h, x, m: h * m[..., None], (ROWS, FULL.long()), (ROWS, HALF.long())),
    "floats": (lambda h, x, m: h * m[..., None], (ROWS, FULL.float()), (ROWS, HALF.float())),
    "ids": (lambda h, x: h * x.ne(0)[..., None], (TOKENS,), (TOKENS * HALF[:2],)),
    "lengths": (by_length, (ROWS, torch.tensor([6] * 3)), (ROWS, torch.tensor([3, 2, 1]))),
    "a threshold": (lambda h, x: h * (x[..., :1] < 50), (ROWS,), (ROWS * 100,)),
    "where": (lambda h, x: torch.where(x[..., :1] < 50, h, 0 * h), (ROWS,), (ROWS * 100,)),
    "a number": (lambda h, x: h * float(x.max() < 50), (ROWS,), (ROWS * 100,)),
    "a decision": (lambda h, x: h if x.max() < 50 else 0 * h, (ROWS,), (ROWS * 100,)),
}


@pytest.mark.parametrize(("way", "these", "others"), MASKS.values(), ids=MASKS)
def test_a_mask_may_be_another(way, these, others):
    net = Masked(way, embedding=len(these) == 1 and not these[0].is_floating_point())
    report, net, before = compacted(net, [1, 5], *these)
    assert error_between(before, net, *map(wide, others)) <= TOLERANCE
    assert report.removed == 0
    assert list(report.constant) == ["first"]
    assert net.first.weight.shape == (8, 4)


STAYING = {
    "a rectifier that did not fire": (lambda m, x: F.relu(m.first(x) - 100), nn.Linear(8, 2)),
    "a sum over positions": (lambda m, x: m.first(x).sum(1), nn.Linear(8, 2)),
    "a running sum": (lambda m, x: m.first(x).cumsum(1), nn.Linear(8, 2)),
    "positions": (
        lambda m, x: m.first(x) + torch.arange(x.shape[1])[:, None],
        nn.Linear(8, 2),
    ),
    "rows of zeros behind": (lambda m, x: F.pad(m.first(x), (0, 0, 0, 0)), nn.Linear(8, 2)),
    "a softmax": (lambda m, x: m.first(x).softmax(1), nn.Linear(8, 2)),
    "a sum by a product": (
        lambda m, x: torch.ones(1, x.shape[1]).to(x) @ m.first(x),
        nn.Linear(8, 2),
    ),
    "no bias": (lambda m, x: m.first(x), nn.Linear(8, 2, bias=False)),
    "borders of zeros": (
        lambda m, x: m.first(x).transpose(1, 2),
        nn.Conv1d(8, 2, 3, padding=1),
    ),
    "borders of zeros before": (
        lambda m, x: F.avg_pool1d(m.first(x).transpose(1, 2), 3, 1, 1),
        nn.Conv1d(8, 2, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "last"), STAYING.values(), ids=STAYING)
def test_what_is_not_proved_stays(function, last):
    net = Net(lambda m, x: m.last(function(m, x)), first=nn.Linear(4, 8), last=last)
    if function is STAYING["a rectifier that did not fire"][0]:
        report, net, _ = compacted(net, [0, 1], ROWS, zero=())
        assert report.constant == {}
    else:
        report, net, _ = compacted(net, [0, 1], ROWS)
        assert list(report.constant) == ["first"]
    assert report.removed == 0


RANDOM = {
    "dropout": lambda m, x: m.drop(x),
    "dropout of images": lambda m, x: F.dropout1d(x[None], 0.3, m.training)[0],
    "dropout as a function": lambda m, x: F.dropout(x, 0.3, m.training),
    "noise": lambda m, x: x + m.training * torch.randn_like(x),
    "a draw": lambda m, x: x * torch.bernoulli(torch.full((8,), 0.5)) if m.training else x,
}


@pytest.mark.parametrize("function", RANDOM.values(), ids=RANDOM)
def test_what_is_random_in_training_stays(function):
    parts = {"first": nn.Linear(4, 8), "last": nn.Linear(8, 2), "drop": nn.Dropout(0.3)}
    net = randomize(Net(lambda m, x: m.last(function(m, m.first(x))), **parts))
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
    report = compact(net, X, latency=False)
    assert report.constant == {"first": "nothing proves that last.weight reads the same always"}


def test_a_table_cut_to_the_length_is_not_the_same_at_every_length():
    net = randomize(Tabled(9)).double().eval()
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
        net.table[:, :6, [1, 5]] = 0.25
    report = compact(net, ROWS.double(), latency=False)
    assert report.removed == 0
    with torch.no_grad():
        net.table[:, :, [1, 5]] = 0.25
    assert compact(net, ROWS.double(), latency=False).removed == 2


def test_a_constant_under_a_batch_norm_is_another_in_train_mode():
    net = Net(
        lambda m, x: m.last(F.relu(m.norm(m.first(x)))),
        first=nn.Conv2d(3, 8, 3),
        norm=nn.BatchNorm2d(8),
        last=nn.Conv2d(8, 2, 3),
    )
    report, net, _ = compacted(net, [2, 6], IMAGE)
    assert len(net.norm.running_mean) == 8
    assert "nothing proves" in report.constant["first"]


class Doubling(nn.Module):
    """Twice as much in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        h = self.first(x).relu()
        return self.last(h * 2.0 if self.training else h)


def test_another_constant_in_train_mode_stays():
    net = Doubling()
    with torch.no_grad():
        net.first.weight[[1, 5]], net.first.bias[[1, 5]] = 0, 0.7
    report = compact(net, X, latency=False)
    assert report.constant == {"first": "last.weight reads something else in train mode"}
    assert report.removed == 0


class Evaluated(Doubling):
    """Has no train mode."""

    def forward(self, x):
        if self.training:
            raise RuntimeError("this model is not trained")
        return super().forward(x)


def test_without_a_recording_in_train_mode_nothing_is_proved():
    net = Evaluated()
    with torch.no_grad():
        net.first.weight[[1, 5]], net.first.bias[[1, 5]] = 0, 0.7
    report = compact(net, X, latency=False)
    assert report.constant == {"first": "the model does not run in train mode on the examples"}


class Counting(nn.Module):
    """Adds a buffer that counts its calls."""

    def __init__(self, in_place) -> None:
        super().__init__()
        self.first, self.last, self.in_place = nn.Linear(4, 8), nn.Linear(8, 2), in_place
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        if self.in_place:
            self.calls.add_(1)
        else:
            self.calls = self.calls + 1
        return self.last(self.first(x) + self.calls)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_buffer_that_a_forward_pass_changes_is_no_constant(in_place):
    net = Counting(in_place)
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
    assert compact(net, X, latency=False).removed == 0


def test_borders_padded_with_zeros_are_the_reason():
    net = images(last=nn.Conv2d(8, 2, 3, padding=1))
    report, net, _ = compacted(net, [0, 3], IMAGE)
    assert net.first.weight.shape == (8, 3, 3, 3)
    assert report.constant == {"first": "last.weight reads it, which pads it with zeros"}
    assert "kept constant: first" in str(report)


def test_a_bias_that_two_layers_share_takes_up_nothing():
    class Sharing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.other = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(4, 2)
            self.other.bias = self.last.bias

        def forward(self, x):
            return self.last(self.first(x)) * self.other(x)

    report, _, _ = compacted(Sharing(), [1, 5], X)
    assert report.constant == {"first": "last.weight has no bias of its own to take it up"}


def test_a_weight_that_is_used_twice_takes_up_nothing():
    net = Net(
        lambda m, x: m.last(m.first(x)) + m.last(m.first(2 * x)),
        first=nn.Linear(4, 8),
        last=nn.Linear(8, 2),
    )
    report, _, _ = compacted(net, [1, 5], X)
    assert "does not read it in a plain product, once" in report.constant["first"]


def test_what_something_else_reads_stays():
    net = Net(
        lambda m, x: m.last(m.first(x)) * m.first(x).norm(dim=-1, keepdim=True),
        first=nn.Linear(4, 8),
        last=nn.Linear(8, 2),
    )
    report, _, _ = compacted(net, [1, 5], X)
    assert report.constant == {"first": "something other than a weight reads it"}


# Exactness, and the way back.


def test_in_float32_the_bias_is_rounded_and_the_compact_model_still_held_to_the_masked_one():
    net = randomize(mlp(torch.sigmoid)).eval()
    with torch.no_grad():
        net.first.weight[[1, 5]] = 0
    before = copy.deepcopy(net)
    report = compact(net, X, latency=False)
    assert report.removed == 2
    error = relative_error(outputs(before, [X]), outputs(net, [X]))
    assert error <= 1e-5
    assert report.max_rel_error > 0


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
