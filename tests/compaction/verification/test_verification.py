"""Verification catches what is not the same wherever it shows, and changes nothing."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net
from support.oracle import half_of_every_group, randomize, zeroed
from support.tiny_zoo import ZOO, PlainCnn
from torch import Tensor, nn

from lightning_prune import compact
from lightning_prune.compaction.completion import completed
from lightning_prune.compaction.plan import plan_removal
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification.verification import (
    FOLDED_TOLERANCES,
    TOLERANCES,
    Verification,
)
from lightning_prune.coupling import couple
from lightning_prune.errors import VerificationError
from lightning_prune.modules.inputs import ExampleInputs

X = torch.randn(4, 3, 8, 8)


def prove(model: nn.Module, *inputs: Any) -> Verification:
    """Return the verification of a copy, so that the model may change."""
    return Verification(copy.deepcopy(model), [ExampleInputs.of(inputs or X)])


def compacted() -> tuple[nn.Module, Verification]:
    """Return a model after surgery, and the verification made before it."""
    model = randomize(PlainCnn())
    coupling = couple(model, X)
    removed = half_of_every_group(coupling.groups)
    model = zeroed(model, coupling.groups, removed, ["out in"] * len(removed))
    proof = prove(model)
    Surgery(model).apply(completed(plan_removal(coupling.groups, removed), model, coupling.grouped))
    return model, proof


def test_a_right_surgery_passes_with_its_errors():
    model, proof = compacted()
    errors = proof.check(model)
    assert 0 <= errors.max_rel_error <= TOLERANCES[torch.float32]
    assert 0 <= errors.max_abs_error <= 1e-4
    assert {"float32", "float64", "train mode"} <= set(proof.tried)


def test_a_model_equals_itself_exactly():
    model = randomize(PlainCnn())
    errors = prove(model).check(model)
    assert (errors.max_abs_error, errors.max_rel_error) == (0.0, 0.0)


def test_one_tampered_weight_is_caught():
    model, proof = compacted()
    with torch.no_grad():
        model.conv1.weight[0, 0, 0, 0] += 1e-3
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(model)


def test_what_float32_cannot_see_float64_catches():
    model = randomize(PlainCnn().double())
    proof = prove(model)
    with torch.no_grad():
        model.head.weight[0, 0] += 1e-8
    with pytest.raises(VerificationError, match=r"in torch.float64, more than 1e-10"):
        proof.check(model)


def test_parameters_that_were_rounded_are_allowed_to_differ_by_that():
    model = nn.Linear(3, 2).double()
    proof = prove(model, torch.randn(4, 3))
    with torch.no_grad():
        model.weight += 1e-8
    proof.check(model, FOLDED_TOLERANCES)
    with pytest.raises(VerificationError, match="more than 1e-10"):
        proof.check(model)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-5), (torch.float32, 1e-3)])
def test_parameters_that_were_rounded_are_allowed_to_differ_by_no_more(dtype, error):
    model = nn.Linear(3, 2).to(dtype)
    proof = prove(model, torch.randn(4, 3, dtype=dtype))
    with torch.no_grad():
        model.weight *= 1 + error
        model.bias *= 1 + error
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(model, FOLDED_TOLERANCES)


def casting(m: nn.Module, x: Tensor) -> Tensor:
    return m.last(x.float().to(m.last.weight))


@pytest.mark.parametrize(("error", "is_caught"), [(1e-3, True), (1e-6, False)])
def test_a_thousandth_in_float32_is_caught(error, is_caught):
    model = Net(casting, last=nn.Linear(3, 2))
    proof = prove(model, torch.randn(4, 3))
    with torch.no_grad():
        model.last.weight *= 1 + error
        model.last.bias *= 1 + error
    if is_caught:
        with pytest.raises(VerificationError, match=r"in torch.float32, more than 1e-04"):
            proof.check(model)
    else:
        assert proof.check(model).max_rel_error == pytest.approx(error, rel=0.2)
        assert "float64: the model casts to fewer digits" in proof.untried


def test_a_model_that_no_longer_runs_is_caught_with_the_reason():
    model, proof = compacted()
    model.conv2.weight.data = model.conv2.weight.data[:, :2]
    with pytest.raises(VerificationError, match="channels"):
        proof.check(model)


def test_another_shape_of_the_output_is_caught():
    model, proof = compacted()
    model.head = nn.Linear(model.head.in_features, 9)
    with pytest.raises(VerificationError, match=r"outputs have shapes .*\(2, 9\)"):
        proof.check(model)


def test_not_a_number_is_caught():
    model, proof = compacted()
    model.head.bias.data[0] = torch.nan
    with pytest.raises(VerificationError, match="where they are finite"):
        proof.check(model)


def test_an_output_that_is_zero_must_stay_zero():
    model = nn.Linear(3, 2)
    model.weight.data.zero_()
    model.bias.data.zero_()
    proof = prove(model, torch.randn(4, 3))
    model.bias.data[0] = 1e-30
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(model)


@pytest.mark.parametrize("example", ZOO.values(), ids=ZOO)
def test_nothing_is_changed(example):
    model = randomize(example.build().train())
    inputs = example.inputs()
    state, given = copy.deepcopy(model.state_dict()), copy.deepcopy(inputs)
    torch.manual_seed(5)
    random_state = torch.get_rng_state()
    proof = Verification(model, [ExampleInputs.of(inputs)])
    proof.check(model)
    assert "train mode" in proof.tried
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(x, y) for x, y in zip(inputs, given, strict=True))
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert next(model.parameters()).dtype == torch.float32


def test_a_model_that_writes_into_its_inputs_equals_itself():
    net = Net(lambda m, x: m.last(x.mul_(3)), last=nn.Linear(3, 2))
    assert prove(net, torch.randn(4, 3)).check(net).max_abs_error == 0


class Remembering(nn.Module):
    """Adds up what it has seen, but takes two rows at most."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += x.sum(0)
        if len(x) > 2:
            raise ValueError("two are enough")
        return self.last(x + self.seen)


def test_a_model_that_remembers_equals_itself():
    model = Remembering()
    proof = prove(model, torch.randn(2, 3))
    assert proof.check(model).max_abs_error == 0
    assert "a batch of 3: ValueError: two are enough" in proof.untried


def test_chance_is_the_same_for_both():
    net = Net(lambda m, x: m.last(x + torch.rand_like(x)), last=nn.Linear(3, 2))
    assert prove(net, torch.randn(4, 3)).check(net).max_abs_error == 0


def test_a_model_that_returns_a_choice_is_held_to_what_it_chose_from():
    net = Net(lambda m, x: m.last(x).argmax(1), last=nn.Linear(3, 2))
    proof = prove(net, torch.randn(4, 3))
    assert proof.check(net).max_rel_error == 0
    net.last.bias.data[0] += 1e-3
    with pytest.raises(VerificationError, match="outputs differ by"):
        proof.check(net)


def test_a_tie_between_equals_may_fall_either_way():
    def sort(m: nn.Module, x: Tensor) -> Tensor:
        return casting(m, x)[:, torch.argsort(m.first(x).sum(0))].cumsum(1)

    net = Net(sort, first=nn.Linear(3, 4), last=nn.Linear(3, 4))
    net.first.weight.data[:] = net.first.weight.data[0]
    net.first.bias.data[:] = 0.1
    proof = prove(net, torch.randn(4, 3))
    net.first.bias.data += torch.tensor([3e-9, 2e-9, 1e-9, 0])  # within float32's rounding
    assert proof.check(net).max_rel_error <= TOLERANCES[torch.float32]


class Masked(nn.Module):
    """The model before compaction in the table below; ``wrong`` says what goes wrong after it."""

    def __init__(self, wrong: Callable[..., Any] | None) -> None:
        super().__init__()
        self.wrong = wrong
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def compute(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        return self.last(self.norm(hidden.reshape(-1, 6)).view(hidden.shape).relu())

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: Tensor | None = None) -> Any:
        y = self.compute(x)
        if mask is not None:
            y = y.masked_fill(~mask.bool()[..., None], 0.0)
        y = y if scale is None else y * scale
        return y if self.wrong is None else self.wrong(self, x, mask, scale, y)


def drifts(m: Masked, x: Tensor, mask: Any, scale: Any, y: Tensor) -> Tensor:
    if m.training:
        m.norm.running_mean += 1e-3
    return y


@dataclass(frozen=True)
class Wrong:
    """What goes wrong, and where verification must say that it was seen."""

    function: Callable[..., Any]
    message: str


WRONG = {
    "in train mode": Wrong(lambda m, x, k, s, y: y + 1e-3 * m.training, "in train mode, outputs"),
    "running statistics": Wrong(drifts, "after a pass in train mode, outputs"),
    "a batch of one": Wrong(lambda m, x, k, s, y: y + (len(x) == 1), "and a batch of 1, outputs"),
    "a larger batch": Wrong(lambda m, x, k, s, y: y + (len(x) > 2), "and a batch of 3, outputs"),
    "longer": Wrong(lambda m, x, k, s, y: y + (x.shape[1] > 6), "on larger sizes and .*, outputs"),
    "shorter": Wrong(
        lambda m, x, k, s, y: y + (x.shape[1] < 6), "on smaller sizes and .*, outputs"
    ),
    "mixed masks": Wrong(
        lambda m, x, k, s, y: y + (k is not None and not k.bool().all()),
        "on mixed masks, outputs",
    ),
    "no mask": Wrong(lambda m, x, k, s, y: y + (k is None), "on a call without `mask`, outputs"),
    "no scale": Wrong(lambda m, x, k, s, y: y + (s is None), "on a call without `scale`, outputs"),
    "large values": Wrong(
        lambda m, x, k, s, y: y + (x.abs().max() > 20), "on values ten times as large, outputs"
    ),
    "returned width": Wrong(lambda m, x, k, s, y: (y, 5), "outputs hold 5 instead of 6"),
}


def right(m: Masked, x: Tensor, mask: Any, scale: Any, y: Tensor) -> Any:
    return (y, 6)


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_only_somewhere_is_caught(name, dtype):
    masked = Masked(right if name == "returned width" else None).eval()
    inputs = ExampleInputs(
        (torch.randn(2, 6, 4), torch.ones(2, 6, dtype=dtype)), {"scale": torch.tensor(2.0)}
    )
    proof = Verification(masked, [inputs])
    compact = copy.deepcopy(masked)
    assert proof.check(compact).max_abs_error == 0
    assert proof.untried == ()
    compact.wrong = WRONG[name].function
    with pytest.raises(VerificationError, match=WRONG[name].message):
        proof.check(compact)


def of_integers(m: nn.Module, tokens: Tensor) -> Tensor:
    return m.last(m.words(tokens)) + m.off * m.wrong(tokens)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda t: float((t == 0).any()), "on whole numbers from zero on"),
        (lambda t: float((t.diff(dim=1) < 0).any()), "and a batch of"),
    ],
    ids=["padding", "order"],
)
def test_other_whole_numbers_are_tried(wrong, message):
    net = Net(of_integers, words=nn.Embedding(20, 4), last=nn.Linear(4, 3), wrong=wrong, off=0.0)
    proof = prove(net, torch.arange(1, 13).view(2, 6))
    net.off = 1.0
    with pytest.raises(VerificationError, match=message):
        proof.check(net)


def test_lengths_are_tried():
    def cut(m: nn.Module, x: Tensor, lengths: Tensor) -> Tensor:
        shown = torch.arange(x.shape[1])[None] < lengths[:, None]
        return m.last(x) * shown[..., None] + m.off * ~shown.all()

    net = Net(cut, last=nn.Linear(4, 3), off=0.0)
    proof = prove(net, torch.randn(2, 6, 4), torch.tensor([6, 6]))
    net.off = 1.0
    with pytest.raises(VerificationError, match="outputs differ"):
        proof.check(net)


def even(m: nn.Module, x: Tensor) -> Tensor:
    if x.shape[-1] % m.multiple or x.shape[-2] % m.multiple:
        raise ValueError("sizes must be multiples")
    return m.last(x) + m.off * (x.shape[-1] != 64)


@pytest.mark.parametrize("multiple", [2, 8, 16, 32])
def test_sizes_that_must_be_multiples_are_tried(multiple):
    net = Net(even, last=nn.Conv2d(3, 2, 1), multiple=multiple, off=0.0)
    proof = prove(net, torch.randn(1, 3, 64, 64))
    net.off = 1.0
    with pytest.raises(VerificationError, match="on larger sizes"):
        proof.check(net)


class Normed(nn.Module):
    """A norm that computes in float32 whatever its input; ``low`` computes in that of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.low = nn.Linear(4, 512), nn.Linear(512, 8), False

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = x if self.low else x.to(torch.promote_types(x.dtype, torch.float32))
        total = torch.zeros_like(y[..., 0])
        for channel in range(512):  # in bfloat16 the sum soon no longer grows
            total = total + y[..., channel] ** 2
        return self.last((y / (total[..., None] / 512 + 1e-5).sqrt()).to(x.dtype))


def test_what_is_imprecise_in_bfloat16_alone_is_caught():
    model = Normed().bfloat16()
    proof = prove(model, torch.randn(2, 4))
    assert proof.check(model).max_abs_error == 0
    assert "the model's own arithmetic" in proof.tried
    model.low = True
    with pytest.raises(VerificationError, match="rounded more than those of the masked model"):
        proof.check(model)


class Auxiliary(nn.Module):
    """A head that runs in train mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.extra = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = F.dropout(self.first(x), training=self.training)
        return (self.last(x), self.extra(x)) if self.training else self.last(x)


def test_a_model_that_no_longer_trains_is_caught():
    model = Auxiliary().eval()
    proof = prove(model, torch.randn(4, 3))
    model.extra.weight.data = model.extra.weight.data[:, :4]
    with pytest.raises(VerificationError, match="in train mode, mat1 and mat2"):
        proof.check(model)


def test_another_shape_in_train_mode_is_caught():
    model = Auxiliary().eval()
    proof = prove(model, torch.randn(4, 3))
    model.extra = nn.Linear(8, 6)
    with pytest.raises(VerificationError, match=r"in train mode, .*\(2, 6\).*\(2, 5\)"):
        proof.check(model)


def test_the_trial_that_refuted_one_model_comes_first_for_the_next():
    model = Masked(None).eval()
    proof = prove(model, torch.randn(2, 6, 4))
    model.wrong = WRONG["shorter"].function
    for _ in range(2):
        with pytest.raises(VerificationError, match="on smaller sizes"):
            proof.check(model)
    model.norm = nn.Identity()  # now it differs on the example as well
    with pytest.raises(VerificationError, match="on smaller sizes"):
        proof.check(model)


class Doubling(nn.Module):
    """Doubles a hidden layer in train mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        h = h * 2.0 if self.training else h
        return self.c(self.b(h).relu())


def test_after_a_refuted_model_the_next_one_is_held_to_everything():
    model = Net(lambda m, x: m.last(x), last=nn.Linear(3, 2))
    proof = prove(model, torch.randn(4, 3))
    with pytest.raises(VerificationError):
        proof.check(Net(lambda m, x: 2 * m.last(x), last=model.last))
    with pytest.raises(VerificationError, match="batch of 1"):
        proof.check(Net(lambda m, x: m.last(x) + (len(x) == 1), last=model.last))


def test_a_constant_that_training_doubles_is_not_folded():
    model = Doubling()
    with torch.no_grad():
        model.a.weight[:4] = 0
        model.a.bias[:4] = 0.7
    before, x = copy.deepcopy(model), torch.randn(4, 5)
    compact(model, x, latency=False)
    for training in (False, True):
        torch.testing.assert_close(model.train(training)(x), before.train(training)(x))


class Flattened(nn.Module):
    """Takes positions for channels, which no other size allows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.o, self.width = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 2, 1), 16

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2 or x.shape[-2] % 2:
            raise ValueError("sizes must be even")
        y = self.a(x)
        batch, height, width = y.shape[0], y.shape[2], y.shape[3]
        y = y.flatten(2).transpose(1, 2).reshape(batch, self.width, height, width)
        return self.o(y)


def test_a_removal_that_holds_at_one_size_only_is_refused():
    model = Flattened().eval()
    x = torch.randn(1, 3, 2, 2)
    for group in couple(model, x).groups:
        for member in group.parameters:
            with torch.no_grad():
                tensor = model.get_parameter(member.axis.tensor)
                tensor.index_fill_(
                    member.axis.dim, member.owned_by(torch.arange(group.units) < 1), 0
                )
    with pytest.raises(VerificationError, match=r"on larger sizes.*, outputs differ"):
        compact(model, x, latency=False)
