"""What works element by element ties its operands and knows whether zero stays zero."""

import operator

import pytest
import torch
import torch.nn.functional as F
from support.nets import Between, Net
from torch import Tensor, nn

from lightning_prune.coupling import couple


def times(*shape: int) -> nn.Module:
    return Net(lambda m, x: x * m.weight, weight=nn.Parameter(torch.randn(shape)))


def plus(*shape: int) -> nn.Module:
    return Net(lambda m, x: x + m.weight, weight=nn.Parameter(torch.randn(shape)))


def buffered(function, *shape: int) -> nn.Module:
    module = Net(lambda m, x: function(x, m.held))
    module.register_buffer("held", torch.rand(shape))
    return module


def written_through_a_view(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, :2] += 1
    return x


def view_written_through_its_base(x: Tensor) -> Tensor:
    x = x.clone()
    view = x.permute(0, 1, 3, 2)
    x.add_(1)
    return view


def copied_into_a_new_tensor(x: Tensor) -> Tensor:
    return torch.empty_like(x).copy_(x)


def copied_into_zeros(x: Tensor) -> Tensor:
    zeros = x.new_zeros(x.shape)
    zeros[:, :, 1:] = x[:, :, 1:]
    return zeros


ZERO_STAYS_ZERO = {
    "written_in_part_into_zeros": copied_into_zeros,
    "relu": F.relu,
    "relu_in_place": nn.ReLU(inplace=True),
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "softsign": F.softsign,
    "threshold_below": lambda x: F.threshold(x, -0.5, 7.0),
    "clamp_around_zero": lambda x: x.clamp(-1, 1),
    "sqrt_of_abs": lambda x: x.abs().sqrt(),
    "square": torch.square,
    "power": lambda x: x**3,
    "sine": torch.sin,
    "times_two": lambda x: 2 * x,
    "divided": lambda x: x / 3,
    "times_in_place": lambda x: x.mul_(0.5),
    "plus_itself_in_place": lambda x: operator.iadd(x, x.relu()),
    "times_a_constant_of_it": lambda x: x * x.sigmoid(),
    "squared_difference": lambda x: (x - x.tanh()) ** 2,
    "where_with_zero": lambda x: torch.where(x > 1, x, 0.0),
    "masked_to_zero": lambda x: x.masked_fill(x < 1, 0.0),
    "minimum": lambda x: torch.minimum(x, x.relu()),
    "lerp": lambda x: torch.lerp(x, x.relu(), 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=2),
    "dropout_in_eval": lambda x: F.dropout(x, 0.5, training=False),
    "alpha_dropout_in_eval": lambda x: F.alpha_dropout(x, 0.5, training=False),
    "written_into_zeros": lambda x: torch.zeros_like(x).copy_(x),
    "copied_into_a_new_tensor": copied_into_a_new_tensor,
    "gate_over_positions": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "buffer_over_positions": buffered(operator.mul, 6, 1),
}

ZERO_BECOMES_A_CONSTANT = {
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "softplus": F.softplus,
    "exp": torch.exp,
    "cos": torch.cos,
    "plus_a_number": lambda x: x + 1,
    "plus_a_number_in_place": lambda x: operator.iadd(x, 1),
    "number_minus": lambda x: 1 - x,
    "clamp_above_zero": lambda x: x.clamp(min=0.1),
    "threshold_above": lambda x: F.threshold(x, 0.5, 7.0),
    "where_with_one": lambda x: torch.where(x > 1, x, 1.0),
    "masked_to_one": lambda x: x.masked_fill(x < 1, 1.0),
    "is_zero": lambda x: (x == 0).to(x),
    "is_not_below": lambda x: torch.logical_not(x < 0).to(x),
    "ones": lambda x: x * 0 + torch.ones_like(x),
    "maximum_with_one": lambda x: torch.maximum(x, torch.ones_like(x)),
    "minimum_with_what_may_be_negative": lambda x: torch.minimum(x, torch.arange(6.0).to(x) - 3),
    "equal_to_what_may_be_zero": lambda x: (x == torch.arange(6.0).to(x)).to(x),
    "written_through_a_view": written_through_a_view,
    "view_written_through_its_base": view_written_through_its_base,
    "plus_a_constant_over_positions": lambda x: x + torch.arange(6.0).to(x),
    "alpha_dropout_is_random": lambda x: F.alpha_dropout(x, 0.0, training=True),
}

FROZEN = {
    "a_tensor_of_numpy": (lambda x: x + torch.from_numpy(x.detach().numpy()), "not shrink"),
    "a_tensor_made_of_one_of_numpy": (
        lambda x: x + torch.from_numpy(x.detach().numpy()).exp().mean(0, keepdim=True),
        "not shrink",
    ),
    "a_tensor_written_in_place": (
        lambda x: (torch.arange(8.0)[:, None, None] + x.new_zeros(len(x), 1, 6, 6)).add_(x),
        "not shrink",
    ),
    "a_logarithm_of_zero": (lambda x: x.abs().log(), "no finite number"),
    "zero_over_its_norm": (lambda x: x / x.norm(dim=(2, 3), keepdim=True), "no finite number"),
    "unknown": (lambda x: torch.special.i0(x), "no coupling rule for this operation"),
    "positions_picked_by_data": (
        lambda x: x + sum(i.sum() for i in torch.where(x > 0)),
        "elements are picked by data",
    ),
    "read_by_python": (lambda x: x * x.amax((0, 2, 3))[0].item(), "picked by position"),
}


@pytest.mark.parametrize("op", ZERO_STAYS_ZERO.values(), ids=ZERO_STAYS_ZERO)
def test_a_zeroed_channel_stays_zero(op):
    Between(op, units=8).check()


@pytest.mark.parametrize("op", ZERO_BECOMES_A_CONSTANT.values(), ids=ZERO_BECOMES_A_CONSTANT)
def test_a_zeroed_channel_becomes_a_constant(op):
    Between(op, units=8, constant=True).check()


@pytest.mark.parametrize(("op", "reason"), FROZEN.values(), ids=FROZEN)
def test_it_freezes(op, reason):
    Between(op, reason=reason).check()


def test_of_a_tensor_of_the_forward_pass_it_picks():
    def op(x):
        return x + torch.arange(8.0)[:, None, None]

    Between(op, units=8, constant=True, corrected=True).check()
    Between(lambda x: x * torch.arange(8.0)[:, None, None], units=8, corrected=True).check()


PARAMETERS = {
    "scale": Between(times(8, 1, 1), units=8, extra="op.weight[0]"),
    "shift": Between(plus(8, 1, 1), units=8, extra="op.weight[0]"),
    "scale_with_a_leading_one": Between(times(1, 8, 1, 1), units=8, extra="op.weight[1]"),
    "scalar_scale": Between(times(1), units=8),
    "scalar_shift": Between(plus(1), units=8, constant=True),
    "scale_over_positions": Between(times(6, 6), units=8),
    "shift_over_positions": Between(plus(6, 6), units=8, constant=True),
    "buffer": Between(buffered(operator.mul, 8, 1, 1), units=8),
    "added_buffer": Between(buffered(operator.add, 8, 1, 1), units=8),
}


@pytest.mark.parametrize("row", PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_that_meet_channels_are_tied_to_them(row):
    row.check()


def test_the_reason_names_the_operation_and_the_module():
    block = Net(lambda m, x: torch.special.i0(m.conv(x)), conv=nn.Conv2d(3, 4, 1))
    net = Net(lambda m, x: m.last(m.block(x)), block=block, last=nn.Conv2d(4, 2, 1))
    frozen = {str(f.axis): f.reason for f in couple(net, torch.randn(1, 3, 2, 2)).frozen}
    reason = frozen["block.conv.weight[0]"]
    assert reason.startswith("no coupling rule for this operation (aten::i0 in block, ")


RANDOM = {
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, training=True),
    "bernoulli": lambda x: x.bernoulli(0.5),
    "noise": lambda x: x + torch.randn_like(x),
}


@pytest.mark.parametrize("op", RANDOM.values(), ids=RANDOM)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_random_is_never_said_to_be_zero(op, seed):
    torch.manual_seed(seed)
    net = Net(lambda m, x: m.last(op(m.first(x))), first=nn.Linear(3, 8), last=nn.Linear(8, 2))
    (group,) = couple(net, torch.rand(4, 3)).groups
    assert group.constant is not None
    assert group.constant.all()


def test_dropout_keeps_zero():
    net = Net(
        lambda m, x: m.last(F.dropout(m.first(x), 0.5, training=True)),
        first=nn.Linear(3, 8),
        last=nn.Linear(8, 2),
    )
    (group,) = couple(net, torch.rand(4, 3)).groups
    assert group.constant is None
