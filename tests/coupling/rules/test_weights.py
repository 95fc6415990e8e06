"""Weights that are computed from parameters: what they are computed from is coupled."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net, Whole
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from lightning_prune.coupling import couple

FIRST = "first.bias[0] first.weight[0]"
ORIGINAL = "mid.parametrizations.weight.original"


def between(mid, reads="conv", **parts):
    """``mid``, from 8 channels to 6, between two layers."""

    def forward(m, x):
        x = m.first(x) if reads == "conv" else m.first(x).mean((2, 3))
        return m.last(m.mid(x) if parts == {} else mid(m, x))

    def build():
        last = nn.Conv2d(6, 2, 1) if reads == "conv" else nn.Linear(6, 2)
        built = {name: part() for name, part in parts.items()} or {"mid": mid()}
        return Net(forward, first=nn.Conv2d(3, 8, 1), last=last, **built)

    return build


def ungraphed(build):
    """Build without a graph, for old-style weight norm keeps its result as an attribute."""

    def built():
        with torch.no_grad():
            return build()

    return built


def parameter(*shape):
    return lambda: nn.Parameter(torch.randn(shape))


def whole(net, reads, writes, frozen=None):
    ties = {}
    if reads:
        ties[" ".join(sorted([*FIRST.split(), *reads.split()]))] = 8
    if writes:
        ties[" ".join(sorted(["last.weight[1]", *writes.split()]))] = 6
    return Whole(net, ((2, 3, 6, 6),), ties, frozen or {})


class Standardised(nn.Conv2d):
    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        std = self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / (std + 1e-5), self.bias)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Exponential(nn.Module):
    def forward(self, weight):
        return weight.exp()


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).transpose(-1, -2)


def parametrized(parametrization, layer=lambda: nn.Conv2d(8, 6, 3)):
    def build():
        made = layer()
        parametrize.register_parametrization(made, "weight", parametrization())
        return made

    return build


def masked():
    layer = prune.random_unstructured(nn.Conv2d(8, 6, 3), "weight", 0.3)
    layer.weight = layer.weight.detach()
    return layer


def scaled(m, x):
    return F.linear(x, m.w * m.g[:, None] * m.c)


ROWS = {
    "weight_norm": whole(
        between(lambda: parametrizations.weight_norm(nn.Conv2d(8, 6, 3))),
        f"{ORIGINAL}1[1]",
        f"mid.bias[0] {ORIGINAL}0[0] {ORIGINAL}1[0]",
    ),
    "weight_norm_over_all": whole(
        between(lambda: parametrizations.weight_norm(nn.Linear(8, 6), dim=None), "linear"),
        f"{ORIGINAL}1[1]",
        f"mid.bias[0] {ORIGINAL}1[0]",
    ),
    "weight_norm_of_columns": whole(
        between(lambda: parametrizations.weight_norm(nn.Linear(8, 6), dim=1), "linear"),
        f"{ORIGINAL}0[1] {ORIGINAL}1[1]",
        f"mid.bias[0] {ORIGINAL}1[0]",
    ),
    "weight_norm_transposed": whole(
        between(lambda: parametrizations.weight_norm(nn.ConvTranspose2d(8, 6, 3))),
        f"{ORIGINAL}0[0] {ORIGINAL}1[0]",
        f"mid.bias[0] {ORIGINAL}1[1]",
    ),
    "old_weight_norm": whole(
        ungraphed(between(lambda: nn.utils.weight_norm(nn.Conv2d(8, 6, 3)))),
        "mid.weight_v[1]",
        "mid.bias[0] mid.weight_g[0] mid.weight_v[0]",
    ),
    "old_weight_norm_over_all": whole(
        ungraphed(between(lambda: nn.utils.weight_norm(nn.Conv2d(8, 6, 3), dim=None))),
        "mid.weight_v[1]",
        "mid.bias[0] mid.weight_v[0]",
    ),
    "spectral_norm": whole(
        between(lambda: parametrizations.spectral_norm(nn.Conv2d(8, 6, 3))),
        f"{ORIGINAL}[1]",
        f"mid.bias[0] {ORIGINAL}[0]",
    ),
    "spectral_norm_of_a_matrix": whole(
        between(lambda: parametrizations.spectral_norm(nn.Linear(8, 6)), "linear"),
        f"{ORIGINAL}[1]",
        f"mid.bias[0] {ORIGINAL}[0]",
    ),
    "old_spectral_norm": whole(
        ungraphed(between(lambda: nn.utils.spectral_norm(nn.Conv2d(8, 6, 3)))),
        "mid.weight_orig[1]",
        "mid.bias[0] mid.weight_orig[0]",
    ),
    "doubled": whole(
        between(parametrized(Doubled)), f"{ORIGINAL}[1]", f"mid.bias[0] {ORIGINAL}[0]"
    ),
    "masked_by_another_tool": whole(
        between(masked), "mid.weight_orig[1]", "mid.bias[0] mid.weight_orig[0]"
    ),
    "scaled_by_row_and_column": whole(
        between(scaled, "linear", w=parameter(6, 8), g=parameter(6), c=parameter(8)),
        "c[0] w[1]",
        "g[0] w[0]",
    ),
    "permuted": whole(
        between(lambda m, x: F.linear(x, m.w.t().contiguous()), "linear", w=parameter(8, 6)),
        "w[0]",
        "w[1]",
    ),
    "exponential": whole(
        between(parametrized(Exponential)), f"{ORIGINAL}[1]", f"mid.bias[0] {ORIGINAL}[0]"
    ),
    "exponential_of_what_is_not_zero": whole(
        between(
            lambda m, x: F.linear(x.sigmoid(), m.w.exp(), m.bias),
            "linear",
            w=parameter(6, 8),
            bias=parameter(6),
        ),
        "",
        "bias[0] w[0]",
        {"first.weight[0]": "not zero where it is removed"},
    ),
    "standardised": replace(
        whole(between(lambda: Standardised(8, 6, 3)), "mid.weight[1]", "mid.bias[0] mid.weight[0]"),
        corrected=True,
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.*_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_computed_weights(row):
    row.check()


def test_a_symmetric_weight_stays():
    Whole(
        lambda: Net(
            lambda m, x: m.last(m.mid(m.first(x))),
            first=nn.Linear(3, 8),
            mid=parametrized(Symmetric, lambda: nn.Linear(8, 8))(),
            last=nn.Linear(8, 2),
        ),
        ((4, 3),),
        {},
        {
            "first.weight[0]": "multiplied with a value that cannot shrink",
            f"{ORIGINAL}[0]": "set to zero by position",
        },
    ).check()


def test_two_weights_side_by_side():
    Whole(
        lambda: Net(
            lambda m, x: m.last(F.linear(m.first(x), torch.cat([m.w, m.v], 0))),
            first=nn.Linear(3, 8),
            w=nn.Parameter(torch.randn(2, 8)),
            v=nn.Parameter(torch.randn(3, 8)),
            last=nn.Linear(5, 2),
        ),
        ((4, 3),),
        {
            "first.bias[0] first.weight[0] v[1] w[1]": 8,
            "last.weight[1] w[0]": 2,
            "last.weight[1] v[0]": 3,
        },
    ).check()


def test_products_of_parameters_share_their_inner_dimension():
    Whole(
        between(
            lambda m, x: F.linear(x, m.b @ m.a), "linear", a=parameter(4, 8), b=parameter(6, 4)
        ),
        ((2, 3, 6, 6),),
        {f"a[1] {FIRST}": 8, "a[0] b[1]": 4, "b[0] last.weight[1]": 6},
    ).check()


def test_a_low_rank_adapter_beside_a_weight():
    Whole(
        between(
            lambda m, x: F.linear(x, m.w + 0.5 * m.b @ m.a, m.bias),
            "linear",
            w=parameter(6, 8),
            a=parameter(4, 8),
            b=parameter(6, 4),
            bias=parameter(6),
        ),
        ((2, 3, 6, 6),),
        {
            f"a[1] {FIRST} w[1]": 8,
            "a[0] b[1]": 4,
            "b[0] bias[0] last.weight[1] w[0]": 6,
        },
    ).check()


def test_a_direction_is_cut_but_never_zeroed():
    net = between(lambda: parametrizations.weight_norm(nn.Conv2d(8, 6, 3)))()
    group = couple(net, torch.randn(2, 3, 6, 6)).groups[1]
    sides = {str(member.axis): member.side for member in group.members}
    assert sides[f"{ORIGINAL}0[0]"] == "out"
    assert sides[f"{ORIGINAL}1[0]"] == "shape"
    assert group.name == "mid.parametrizations.weight"


def test_the_price_of_a_computed_weight_is_paid_by_what_has_its_size():
    net = between(lambda: parametrizations.weight_norm(nn.Conv2d(8, 6, 3)))()
    prices = couple(net, torch.randn(2, 3, 6, 6)).prices
    assert prices[f"{ORIGINAL}1"] == 2 * 4 * 4
    assert f"{ORIGINAL}0" not in prices
