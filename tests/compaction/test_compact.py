"""Compact models compute what the masked ones compute."""

import copy
import logging
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from support.nets import Net
from support.oracle import (
    TOLERANCE,
    half_of_every_group,
    outputs,
    randomize,
    relative_error,
    zeroed,
)
from support.tiny_zoo import ZOO, PlainCnn
from torch import Tensor, nn
from torch.nn.utils import prune

from lightning_prune.compaction import compact
from lightning_prune.compaction.verification import FOLDED_TOLERANCES, TOLERANCES
from lightning_prune.compaction.verification.verification import Verification
from lightning_prune.coupling import couple
from lightning_prune.errors import ExampleInputsError, VerificationError
from lightning_prune.modules.inputs import Call, examples_of

zoo = pytest.mark.parametrize("example", ZOO.values(), ids=ZOO)


def masked(model: nn.Module, inputs) -> nn.Module:
    """Return a copy with random weights and half of the units of every group zeroed."""
    model = randomize(model)
    groups = couple(model, inputs).groups
    removed = half_of_every_group(groups)
    return zeroed(model, groups, removed, ["out in"] * len(groups))


def assert_same(expected: nn.Module, obtained: nn.Module, inputs) -> None:
    """Compare in float64 on these inputs and on others."""
    expected, obtained = (copy.deepcopy(m).double().eval() for m in (expected, obtained))
    for given in (inputs, [torch.randn_like(x[:1]) for x in inputs]):
        given = [x.double() for x in given]
        found = relative_error(outputs(expected, given), outputs(obtained, given))
        assert found <= TOLERANCE


@zoo
def test_tiny_models(example):
    inputs = example.inputs()
    model = masked(example.build(), inputs)
    small = copy.deepcopy(model)
    report = compact(small, inputs, latency=False)
    assert_same(model, small, inputs)
    assert report.refused == {}
    assert {g.name: g.removed for g in report.groups} == {
        name: units // 2 for name, (units, _) in example.groups.items()
    }
    assert report.params_before == sum(p.numel() for p in model.parameters())
    assert report.params_after == sum(p.numel() for p in small.parameters())
    assert report.params_after < report.params_before
    assert report.macs_after < report.macs_before
    assert list(small.state_dict()) == list(model.state_dict())


@zoo
def test_compact_models_live_on(example):
    inputs = example.inputs()
    small = masked(example.build(), inputs)
    compact(small, inputs, latency=False)
    assert_same(small, copy.deepcopy(small), inputs)
    assert_same(small, pickle.loads(pickle.dumps(small)), inputs)
    small.train()
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9)
    before = copy.deepcopy(small.state_dict())
    answer = small(*inputs)
    answers = answer.values() if isinstance(answer, dict) else answer
    answers = [answers] if isinstance(answers, Tensor) else answers
    sum(a.square().mean() for a in answers).backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())
    optimizer.step()
    assert any(not torch.equal(t, before[name]) for name, t in small.state_dict().items())


TORCHVISION = {
    "resnet18": (torchvision.models.resnet18, 32, 0.45),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, 32, 0.45),
    "densenet121": (torchvision.models.densenet121, 32, 0.45),
    "vgg11_bn": (torchvision.models.vgg11_bn, 32, 0.45),
}


@pytest.mark.slow
@pytest.mark.parametrize(("build", "pixels", "at_most"), TORCHVISION.values(), ids=TORCHVISION)
def test_torchvision_models(build, pixels, at_most):
    inputs = (torch.randn(2, 3, pixels, pixels),)
    model = masked(build(num_classes=10), inputs).eval()
    small = copy.deepcopy(model)
    report = compact(small, inputs, latency=False)
    assert report.refused == {}
    assert report.params_after <= at_most * report.params_before
    assert_same(model, small, inputs)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 3, 8, 8)


@pytest.fixture
def model() -> nn.Module:
    return randomize(PlainCnn()).eval()


def counts(report) -> dict[str, int]:
    return {group.name: group.removed for group in report.groups}


def test_zeros_by_hand(model, x):
    with torch.no_grad():
        for tensor in (model.conv1.weight, model.bn1.weight, model.bn1.bias):
            tensor[[1, 6]] = 0
    before = copy.deepcopy(model)
    assert counts(compact(model, x, latency=False)) == {"conv1": 2, "conv2": 0}
    assert model.conv1.weight.shape == (6, 3, 3, 3)
    assert model.bn1.num_features == 6
    assert_same(before, model, (x,))


def test_zeros_by_the_prune_module_of_torch(model, x):
    for module, name in ((model.conv1, "weight"), (model.bn1, "weight"), (model.bn1, "bias")):
        mask = torch.ones_like(getattr(module, name))
        mask[:3] = 0
        prune.custom_from_mask(module, name, mask)
        prune.remove(module, name)
    before = copy.deepcopy(model)
    assert counts(compact(model, x, latency=False)) == {"conv1": 3, "conv2": 0}
    assert_same(before, model, (x,))


def test_a_unit_that_nothing_reads_goes(model, x):
    model.conv2.weight.data[:, :4] = 0
    before = copy.deepcopy(model)
    assert counts(compact(model, x, latency=False)) == {"conv1": 4, "conv2": 0}
    assert_same(before, model, (x,))


def test_a_scale_of_zero_under_a_shift_is_folded_into_its_reader(x):
    model = Net(
        lambda m, x: m.last(m.norm(m.first(x)).relu()),
        first=nn.Conv2d(3, 8, 3),
        norm=nn.BatchNorm2d(8),
        last=nn.Conv2d(8, 4, 3),
    )
    model = randomize(model).eval()
    model.norm.weight.data[2] = 0
    before = copy.deepcopy(model)
    report = compact(model, x, latency=False)
    assert counts(report) == {"first": 1}
    assert report.constant == {}
    for training in (False, True):
        found = relative_error(outputs(before, [x], training), outputs(model, [x], training))
        assert found <= 1e-6  # the bias of the last layer is rounded to float32


def test_a_dead_row_under_a_batch_norm_stays(model, x):
    # In eval mode bn2 moves zero to -mean / sqrt(var), in train mode zero stays zero.
    model.conv2.weight.data[2] = 0
    model.conv2.bias.data[2] = 0
    report = compact(model, x, latency=False)
    assert counts(report) == {"conv1": 0, "conv2": 0}
    assert list(report.constant) == ["conv2"]


def test_a_unit_that_a_tied_weight_still_writes_is_kept():
    example = ZOO["tied"]
    model = randomize(example.build()).eval()
    for bias in (model.encoder.bias, model.inner.bias, model.again.bias):
        bias.data[0] = 0
    report = compact(model, example.inputs(), latency=False)
    assert (report.removed, report.refused) == (0, {})


def test_nothing_dead_is_said_aloud(model, x):
    before = copy.deepcopy(model.state_dict())
    report = compact(model, x, latency=False)
    assert "NOTHING WAS REMOVED" in str(report)
    assert report.params_after == report.params_before
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_of_a_group_that_is_all_zero_one_unit_stays(model, x):
    for parameter in (model.conv1.weight, model.bn1.weight, model.bn1.bias):
        parameter.data.zero_()
    before = copy.deepcopy(model)
    assert counts(compact(model, x, latency=False)) == {"conv1": 7, "conv2": 0}
    assert_same(before, model, (x,))


class HardCoded(nn.Module):
    """A size that is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 64, 3, stride=2, padding=1)
        self.head = nn.Linear(64 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.head(x.view(x.shape[0], 64 * 4 * 4))


def test_a_size_that_is_written_down_in_the_source_is_corrected(x):
    model = masked(HardCoded(), (x,))
    before = copy.deepcopy(model)
    report = compact(model, x, latency=False)
    assert counts(report) == {"conv1": 4, "conv2": 32}
    assert report.refused == {}
    assert_same(before, model, (x,))
    assert_same(before, pickle.loads(pickle.dumps(model)), (x,))


class Unreadable(HardCoded):
    """The same size, where the source cannot be read."""

    exec("def forward(self, x): return self.head(self.features(x).view(x.shape[0], 64 * 4 * 4))")

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))))


def test_a_group_whose_size_cannot_be_corrected_is_left_alone_with_the_reason(x, caplog):
    model = masked(Unreadable(), (x,))
    before = copy.deepcopy(model)
    with caplog.at_level(logging.WARNING):
        report = compact(model, x, latency=False)
    assert counts(report) == {"conv1": 4, "conv2": 0}
    assert list(report.refused) == ["conv2"]
    assert "no source of forward" in report.refused["conv2"]
    assert "aten::view in the root module" in report.refused["conv2"]
    assert "left as it was: conv2" in str(report)
    assert "Left conv2 as it was" in caplog.text
    assert model.conv2.weight.shape == (64, 4, 3, 3)
    assert_same(before, model, (x,))


class Asserting(nn.Module):
    """An assertion about a size, as in torch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        if x.shape[1] != 8:
            raise AssertionError("eight are expected")
        return self.last(F.relu(self.second(x)))


def test_a_group_about_which_the_model_asserts_is_left_alone():
    inputs = (torch.randn(4, 5),)
    model = masked(Asserting(), inputs)
    report = compact(model, inputs, latency=False)
    assert list(report.refused) == ["first"]
    assert "eight are expected" in report.refused["first"]
    assert counts(report) == {"first": 0, "second": 4}


def test_where_nothing_can_go_it_raises_and_the_model_is_as_it_was(x):
    model = Unreadable()
    model.conv2.weight.data[:5] = 0
    model.conv2.bias.data[:5] = 0
    model.requires_grad_(True)
    model.conv2.weight.grad = torch.ones_like(model.conv2.weight)
    state = copy.deepcopy(model.state_dict())
    held = {name: (id(t), t.data_ptr()) for name, t in model.state_dict(keep_vars=True).items()}
    attributes = (model.conv2.out_channels, model.head.in_features)
    with pytest.raises(VerificationError, match=r"conv2 \(no source of forward.*as it was"):
        compact(model, x)
    assert held == {n: (id(t), t.data_ptr()) for n, t in model.state_dict(keep_vars=True).items()}
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert (model.conv2.out_channels, model.head.in_features) == attributes
    assert torch.equal(model.conv2.weight.grad, torch.ones_like(model.conv2.weight))


class Scaled(nn.Module):
    """A number computed from a size that shrinks."""

    def __init__(self, scale: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.last = nn.Linear(8, 2)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x / x.shape[1] ** 0.5 * self.scale(x))


def test_a_number_computed_from_a_size_stays_what_it_was():
    inputs = (torch.randn(4, 5),)
    model = masked(Scaled(lambda x: 1), inputs)
    before = copy.deepcopy(model)
    assert counts(compact(model, inputs, latency=False)) == {"first": 4}
    assert model.first.weight.shape == (4, 5)
    assert_same(before, model, inputs)


def test_a_number_from_code_without_source_is_refused_and_not_applied():
    inputs = (torch.randn(4, 5),)
    model = masked(Scaled(lambda x: torch.from_numpy(np.full(1, x.shape[1]))), inputs)
    # Torch 2.6 records the number that numpy gives it.
    reason = r"first \((what Scaled.forward calls has no source|it is a part of what torch)"
    with pytest.raises(VerificationError, match=reason):
        compact(model, inputs)
    assert model.first.weight.shape == (8, 5)


def test_whatever_interrupts_the_model_is_as_it_was(x, monkeypatch):
    model = masked(PlainCnn(), (x,))
    state = copy.deepcopy(model.state_dict())

    def interrupt(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Verification, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compact(model, x)
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


def test_latency_is_measured_in_turns_where_it_is_asked_for(model, x):
    report = compact(model, x)
    assert report.latency_before.runs == report.latency_after.runs
    assert report.speedup > 0
    assert compact(model, x, latency=False).speedup is None


def test_the_mode_and_the_random_state_stay(x):
    model = masked(PlainCnn(), (x,)).train()
    model.bn1.eval()
    torch.manual_seed(1)
    random_state = torch.get_rng_state()
    compact(model, x, latency=False)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [m.training for m in (model, model.conv1, model.bn1)] == [True, True, False]


def test_the_same_call_again_finds_nothing_more(x):
    model = masked(PlainCnn(), (x,))
    assert compact(model, x, latency=False).removed == 4 + 3
    assert compact(model, x, latency=False).removed == 0


def test_a_half_precision_model():
    inputs = (torch.randn(4, 5),)
    model = masked(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)), inputs).bfloat16()
    assert compact(model, inputs, latency=False).removed == 4
    assert model[0].weight.dtype == torch.bfloat16


class InDouble(nn.Sequential):
    """Names its type in its code, so that no copy runs in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.linspace(0, 1, 5, dtype=torch.float64))


def test_a_model_that_names_float64():
    inputs = (torch.randn(4, 5, dtype=torch.float64),)
    model = InDouble(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    report = compact(masked(model, inputs), inputs, latency=False)
    assert report.removed == 4
    assert "float64" in report.tried
    assert "float32" not in report.tried


def test_inputs_on_which_the_model_does_not_run_are_refused(model):
    with pytest.raises(ExampleInputsError, match="channels"):
        compact(model, torch.randn(2, 4, 8, 8))


def test_an_image_in_channels_last_memory(x):
    model = masked(PlainCnn(), (x,)).to(memory_format=torch.channels_last)
    before = copy.deepcopy(model)
    assert compact(model, x, latency=False).removed == 4 + 3
    assert_same(before, model, (x,))


def test_what_a_shared_function_writes_is_not_mixed_up():
    net = Net(
        lambda m, x: m.last(torch.cat([m.a(x), m.b(x)], 1) + m.c(x)),
        a=nn.Linear(5, 4),
        b=nn.Linear(5, 4),
        c=nn.Linear(5, 8),
        last=nn.Linear(8, 2),
    )
    inputs = (torch.randn(4, 5),)
    model = masked(net, inputs)
    before = copy.deepcopy(model)
    report = compact(model, inputs, latency=False)
    assert counts(report) == {"a": 2, "b": 2}
    assert_same(before, model, inputs)


class Methods(nn.Module):
    """`forward` encodes; `decode` is a method of its own, and only training runs `aux`."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.code = nn.Linear(4, 8), nn.Linear(8, 3)
        self.up, self.out = nn.Linear(3, 7), nn.Linear(7, 4)
        self.aux = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self.down(x).relu())

    def decode(self, z: Tensor) -> Tensor:
        hidden = self.up(z)
        return self.out(hidden.reshape(-1, 7).relu())

    def loss(self, x: Tensor) -> Tensor:
        return self.aux(self.down(x).relu()).square().mean()


X, Z = torch.randn(3, 4), torch.randn(3, 3)
EXAMPLES = [X, Call("decode", Z), Call("loss", X)]


def without_two(writer: nn.Linear) -> None:
    with torch.no_grad():
        writer.weight[:2], writer.bias[:2] = 0, 0


def test_what_an_unrecorded_parameter_may_read_stays_and_it_is_named_once(caplog):
    model = Methods()
    without_two(model.down)
    report = compact(model, X, latency=False)
    assert report.unused == tuple(
        f"{module}.{name}" for module in ("up", "out", "aux") for name in ("weight", "bias")
    )
    assert model.down.out_features == 8
    [warning] = [r.getMessage() for r in caplog.records if "do not run" in r.getMessage()]
    assert "do not run up, out, aux." in warning
    assert "not run by the example inputs: up.weight, up.bias" in str(report)


def test_it_goes_without_a_warning_where_that_is_allowed(caplog):
    model = Methods()
    without_two(model.down)
    report = compact(model, X, latency=False, allow_unused=True)
    assert (model.down.out_features, "aux.weight" in report.unused) == (6, True)
    assert not caplog.records


def test_all_examples_are_corrected_and_verified(caplog):
    model = Methods()
    without_two(model.down)
    without_two(model.up)
    before = copy.deepcopy(model)
    report = compact(model, EXAMPLES, latency=False)
    assert (model.down.out_features, model.up.out_features, model.aux.in_features) == (6, 5, 6)
    assert report.unused == ()
    for example in examples_of(EXAMPLES):
        torch.testing.assert_close(example(model), example(before))
    macs_of_forward, macs_of_decode, macs_of_loss = 4 * 8 + 8 * 3, 3 * 7 + 7 * 4, 4 * 8 + 8 * 2
    assert report.macs_before == 3 * (macs_of_forward + macs_of_decode + macs_of_loss)
    assert not caplog.records


def test_a_difference_in_any_example_is_refused():
    """Only the second example adds a width, in code without source that cannot be corrected."""
    add_width = eval("lambda y, hidden: y + hidden.shape[1] / 10")

    class Width(Methods):
        def decode(self, z: Tensor) -> Tensor:
            return add_width(super().decode(z), self.up(z))

    model = Width()
    without_two(model.up)
    without_two(model.down)
    report = compact(model, EXAMPLES, latency=False)
    assert list(report.refused) == ["up"]
    assert (model.down.out_features, model.up.out_features) == (6, 7)


def test_a_branch_that_one_example_does_not_run_is_taken_out():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return x + self.b(self.a(x).relu())

        def encode(self, x: Tensor) -> Tensor:
            return self.first(x)

    model = Branching()
    nn.init.zeros_(model.b.weight)
    nn.init.zeros_(model.b.bias)
    report = compact(model, [Call("encode", X), X], latency=False)
    assert {g.name: g.removed for g in report.groups}["a"] == 1
    assert model.a.weight.numel() == 0
    assert torch.equal(model(X), model.encode(X))


@pytest.mark.parametrize("constant", [0.0, 0.5])
def test_only_what_takes_up_constants_may_round(constant, monkeypatch):
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[4:] = 0
        model[0].bias[4:] = constant
    allowed = []
    check = Verification.check

    def noting(self, model, tolerances):
        allowed.append(tolerances)
        return check(self, model, tolerances)

    monkeypatch.setattr(Verification, "check", noting)
    compact(model, torch.randn(4, 3), latency=False)
    assert model[0].out_features == 4
    assert allowed[-1] == (FOLDED_TOLERANCES if constant else TOLERANCES)


def test_the_report_says_what_was_not_tried():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[1].weight[4:] = 0
        model[1].bias[4:] = 0
    report = compact(model, torch.randn(2, 3, 2, 2), latency=False)
    assert "float64" in report.tried
    assert any(what.startswith("larger sizes: RuntimeError: mat1") for what in report.untried)
