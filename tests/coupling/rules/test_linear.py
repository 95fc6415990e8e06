"""Products with a weight matrix tie what they read and what they write."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net, Whole
from support.oracle import assert_removable, reasons, ties
from torch import nn

from lightning_prune.coupling import couple


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def two(function, **parts):
    """Two linear layers, 3 → 8 → 2, with something between."""
    return lambda: Net(function, first=nn.Linear(3, 8), last=nn.Linear(8, 2), **parts)


FIRST = "first.bias[0] first.weight[0]"
PLAIN = {f"{FIRST} last.weight[1]": 8}

ROWS = {
    "linear": Whole(two(lambda m, x: m.last(m.first(x))), ((4, 3),), PLAIN),
    "linear_without_bias": Whole(
        lambda: nn.Sequential(nn.Linear(3, 8, bias=False), nn.Linear(8, 2, bias=False)),
        ((4, 3),),
        {"0.weight[0] 1.weight[1]": 8},
    ),
    "linear_without_a_batch": Whole(two(lambda m, x: m.last(m.first(x))), ((3,),), PLAIN),
    "linear_over_tokens": Whole(two(lambda m, x: m.last(m.first(x))), ((2, 5, 3),), PLAIN),
    "outputs_stay": Whole(
        lambda: nn.Linear(3, 8),
        ((4, 3),),
        {},
        {"weight[0]": "written to the model's output", "bias[0]": "written to the model's output"},
    ),
    "matmul": Whole(
        two(lambda m, x: m.last(m.first(x) @ m.w), w=weight(8, 8)),
        ((2, 5, 3),),
        {f"{FIRST} w[0]": 8, "last.weight[1] w[1]": 8},
    ),
    "matmul_with_a_transposed_weight": Whole(
        lambda: Net(
            lambda m, x: m.last(m.first(x) @ m.w.t()),
            first=nn.Linear(3, 8),
            w=weight(6, 8),
            last=nn.Linear(6, 2),
        ),
        ((4, 3),),
        {f"{FIRST} w[1]": 8, "last.weight[1] w[0]": 6},
    ),
    "addmm": Whole(
        two(lambda m, x: m.last(torch.addmm(m.b, m.first(x), m.w)), w=weight(8, 8), b=weight(8)),
        ((4, 3),),
        {f"{FIRST} w[0]": 8, "b[0] last.weight[1] w[1]": 8},
    ),
    "addmm_scaled": Whole(
        two(
            lambda m, x: m.last(torch.addmm(m.b, m.first(x), m.w, beta=2, alpha=3)),
            w=weight(8, 8),
            b=weight(8),
        ),
        ((4, 3),),
        {f"{FIRST} w[0]": 8, "b[0] last.weight[1] w[1]": 8},
    ),
    "addmm_with_a_bias_per_row": Whole(
        two(lambda m, x: m.last(torch.addmm(m.b, m.first(x), m.w)), w=weight(8, 8), b=weight(6, 8)),
        ((6, 3),),
        {f"{FIRST} w[0]": 8, "b[1] last.weight[1] w[1]": 8},
        {"b[0]": "meets a value that cannot shrink"},
    ),
    "baddbmm": Whole(
        two(
            lambda m, x: m.last(torch.baddbmm(m.b, m.first(x), m.w)),
            w=weight(2, 8, 8),
            b=weight(2, 1, 8),
        ),
        ((2, 5, 3),),
        {f"{FIRST} w[1]": 8, "b[2] last.weight[1] w[2]": 8},
        {"w[0]": "multiplied with a value that cannot shrink"},
    ),
    "addbmm": Whole(
        two(
            lambda m, x: m.last(torch.addbmm(m.b, m.first(x), m.w)), w=weight(2, 8, 8), b=weight(8)
        ),
        ((2, 5, 3),),
        {f"{FIRST} w[1]": 8, "b[0] last.weight[1] w[2]": 8},
    ),
    "addmv": Whole(
        two(lambda m, x: m.last(torch.addmv(m.b, m.w, m.first(x))), w=weight(8, 8), b=weight(8)),
        ((3,),),
        {f"{FIRST} w[1]": 8, "b[0] last.weight[1] w[0]": 8},
    ),
    "mv": Whole(
        two(lambda m, x: m.last(m.w.mv(m.first(x))), w=weight(8, 8)),
        ((3,),),
        {f"{FIRST} w[1]": 8, "last.weight[1] w[0]": 8},
    ),
    "dot": Whole(
        two(lambda m, x: m.last(m.first(x)) + m.w.dot(m.first(x)), w=weight(8)),
        ((3,),),
        {f"{FIRST} last.weight[1] w[0]": 8},
    ),
    "bias_of_one": Whole(
        lambda: Net(
            lambda m, x: m.last(F.linear(x, m.w) + m.b),
            w=weight(8, 3),
            b=weight(1),
            last=nn.Linear(8, 2),
        ),
        ((4, 3),),
        {"last.weight[1] w[0]": 8},
    ),
    "product_of_activations": Whole(
        two(lambda m, x: m.last(m.first(x).softmax(-1) @ m.first(x).t() @ m.first(x))),
        ((4, 3),),
        {},
        {"first.weight[0]": "normalised over a labelled dimension"},
    ),
    "attention": Whole(
        two(lambda m, x: m.last(m.first(x) @ m.first(x).transpose(1, 2) @ m.first(x))),
        ((2, 5, 3),),
        PLAIN,
    ),
    "weight_on_the_left": Whole(
        two(lambda m, x: m.last((m.w @ m.first(x).t()).t()), w=weight(8, 8)),
        ((4, 3),),
        {f"{FIRST} w[1]": 8, "last.weight[1] w[0]": 8},
    ),
    "weights_of_a_batch": Whole(
        two(lambda m, x: m.last(m.first(x) @ m.w), w=weight(2, 8, 8)),
        ((2, 5, 3),),
        {f"{FIRST} w[1]": 8, "last.weight[1] w[2]": 8},
        {"w[0]": "multiplied with a value that cannot shrink"},
    ),
    "experts": Whole(
        lambda: Net(
            lambda m, x: torch.einsum("ebo,be->bo", (x @ m.up).relu() @ m.down, m.gate(x)),
            up=weight(4, 3, 8),
            down=weight(4, 8, 2),
            gate=nn.Linear(3, 4),
        ),
        ((5, 3),),
        {"down[1] up[2]": 8, "down[0] gate.bias[0] gate.weight[0] up[0]": 4},
    ),
    "low_rank_weights": Whole(
        two(lambda m, x: m.last(F.linear(m.first(x), m.a @ m.b)), a=weight(8, 4), b=weight(4, 8)),
        ((4, 3),),
        {f"b[1] {FIRST}": 8, "a[1] b[0]": 4, "a[0] last.weight[1]": 8},
    ),
    "einsum": Whole(
        two(lambda m, x: m.last(torch.einsum("bni,io->bno", m.first(x), m.w)), w=weight(8, 8)),
        ((2, 5, 3),),
        {f"{FIRST} w[0]": 8, "last.weight[1] w[1]": 8},
    ),
    "einsum_without_an_arrow": Whole(
        two(lambda m, x: m.last(torch.einsum("...i,io", m.first(x), m.w)), w=weight(8, 8)),
        ((2, 5, 3),),
        {f"{FIRST} w[0]": 8, "last.weight[1] w[1]": 8},
    ),
    "einsum_of_different_ranks": Whole(
        two(
            lambda m, x: m.last(torch.einsum("...i,...io->...o", m.first(x), m.w)),
            w=weight(5, 8, 8),
        ),
        ((2, 5, 3),),
        {f"{FIRST} w[1]": 8, "last.weight[1] w[2]": 8},
    ),
    "einsum_of_three": Whole(
        two(
            lambda m, x: m.last(torch.einsum("bi,ir,ro->bo", m.first(x), m.a, m.b)),
            a=weight(8, 4),
            b=weight(4, 8),
        ),
        ((2, 3),),
        {f"a[0] {FIRST}": 8, "a[1] b[0]": 4, "b[1] last.weight[1]": 8},
    ),
    "einsum_that_scales": Whole(
        two(lambda m, x: m.last(torch.einsum("bi,i->bi", m.first(x), m.w)), w=weight(8)),
        ((2, 3),),
        {f"{FIRST} last.weight[1] w[0]": 8},
    ),
    "einsum_that_sums_one_value": Whole(
        two(lambda m, x: m.last(m.first(x)) + torch.einsum("bi->b", m.first(x))[:, None]),
        ((2, 3),),
        PLAIN,
    ),
    "einsum_that_sums_constants": Whole(
        two(lambda m, x: m.last(m.first(x)) + torch.einsum("bi->b", m.first(x).exp())[:, None]),
        ((2, 3),),
        {},
        {"first.weight[0]": "a removed coordinate would add a constant"},
    ),
    "einsum_of_a_diagonal": Whole(
        two(
            lambda m, x: m.last(torch.einsum("bii->bi", m.first(x)[:, None] * m.w)), w=weight(8, 8)
        ),
        ((4, 3),),
        {},
        {"first.weight[0]": "a diagonal"},
    ),
    "computed_weights": Whole(
        two(lambda m, x: m.last(F.linear(m.first(x), m.w * 2)), w=weight(8, 8)),
        ((4, 3),),
        {f"{FIRST} w[1]": 8, "last.weight[1] w[0]": 8},
    ),
    "constant_weights": Whole(
        two(lambda m, x: m.last(F.linear(m.first(x), torch.eye(8).to(x)))),
        ((4, 3),),
        {},
        {"first.weight[0]": "multiplied with a value that cannot shrink"},
    ),
    "sliced_weights": Whole(
        two(
            lambda m, x: m.last(F.linear(m.first(x), m.w[: m.last.weight.shape[1]])), w=weight(9, 8)
        ),
        ((4, 3),),
        {f"{FIRST} w[1]": 8, "last.weight[1] w[0]": 8},
        {"w[0]": "in no part of a weight that is used in parts"},
    ),
    "bilinear": Whole(
        two(lambda m, x: m.last(m.pair(m.first(x), x)), pair=nn.Bilinear(8, 3, 8)),
        ((4, 3),),
        {f"{FIRST} pair.weight[1]": 8, "last.weight[1] pair.bias[0] pair.weight[0]": 8},
    ),
    "bilinear_in_itself": Whole(
        two(
            lambda m, x: m.last(m.pair(m.first(x), m.first(x).sigmoid())),
            pair=nn.Bilinear(8, 8, 8, bias=False),
        ),
        ((4, 3),),
        {f"{FIRST} pair.weight[1] pair.weight[2]": 8, "last.weight[1] pair.weight[0]": 8},
    ),
    "mixed_tokens": Whole(
        lambda: Net(
            lambda m, x: m.last(m.mix(m.first(x).transpose(1, 2)).transpose(1, 2)),
            first=nn.Linear(3, 8),
            mix=nn.Linear(5, 5, bias=False),
            last=nn.Linear(8, 2),
        ),
        ((2, 5, 3),),
        PLAIN,
        {"mix.weight[0]": "written to the model's output"},
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_linear_rules(row):
    row.check()


def test_a_bias_over_tokens_is_a_constant_for_the_channels_beside_it():
    net = Net(
        lambda m, x: m.last(m.mix(m.first(x).transpose(1, 2)).transpose(1, 2)),
        first=nn.Linear(3, 8),
        mix=nn.Linear(5, 5),
        last=nn.Linear(8, 2),
    )
    (group,) = assert_removable(net, (torch.randn(2, 5, 3),)).groups
    assert group.units == 8
    assert group.constant is not None


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.places = nn.Embedding(5, 8)
        self.inner = nn.Linear(8, 6)
        self.outer = nn.Linear(6, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        return self.head(x + self.outer(F.relu(self.inner(x))))


def test_tied_embeddings_write_and_read_the_same_channels():
    coupling = assert_removable(Words(), (torch.arange(10).view(2, 5),))
    groups = {g.name: (g.units, g.writers) for g in coupling.groups}
    assert groups == {"places": (8, ("places", "outer")), "inner": (6, ("inner",))}
    # No unit counts as silent while the tied weight, which reads, still writes it.
    assert coupling.groups[0].constant.all()


def test_words_stay():
    frozen = {
        str(f.axis): f.reason
        for f in assert_removable(Words(), (torch.arange(10).view(2, 5),)).frozen
    }
    assert "rows are picked by data" in frozen["places.weight[0]"]


def test_a_value_multiplied_with_itself_is_read_by_no_weight():
    square = two(lambda m, x: m.last(m.first(x)) + (m.first(x) @ m.first(x).mT).sum())
    (group,) = assert_removable(square(), (torch.randn(4, 3),)).groups
    assert group.exposed.all()
    assert group.constant is None


def test_a_fixed_matrix_is_cut_but_reads_nothing():
    net = two(lambda m, x: m.last(m.first(x)) + (m.first(x) @ m.fixed).sum())()
    net.register_buffer("fixed", torch.randn(8, 5))
    (group,) = assert_removable(net, (torch.randn(4, 3),)).groups
    assert "fixed[0]" in {str(member.axis) for member in group.members if member.buffer}
    assert group.exposed.all()


def experts(function) -> Callable[[], Net]:
    """Rows of 3 in three groups, each with its own weights."""
    return lambda: Net(
        function,
        first=nn.Linear(3, 16),
        inner=weight(3, 16, 32),
        outer=weight(3, 32, 16),
        last=nn.Linear(16, 2),
    )


OFFSETS = torch.tensor([16, 24, 40], dtype=torch.int32)


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="torch has it since 2.8")
def test_products_in_groups_of_rows():
    """The fused product takes bfloat16 alone: held to a loop by hand."""

    def forward(m, x):
        x = m.first(x).bfloat16()
        x = torch._grouped_mm(x, m.inner.bfloat16(), OFFSETS).relu()
        return m.last(torch._grouped_mm(x, m.outer.bfloat16(), OFFSETS).to(m.last.weight))

    coupling = couple(experts(forward)(), torch.randn(40, 3))
    assert ties(coupling) == {
        f"{FIRST} inner[1]": 16,
        "inner[2] outer[1]": 32,
        "last.weight[1] outer[2]": 16,
    }
    assert "grouped by data" in reasons(coupling, "inner[0]")
    assert coupling.prices["inner"] == 2 / 3  # of the two rows that are traced


def test_a_choice_of_words_by_labelled_channels_freezes_them():
    net = Net(
        lambda m, x: m.last(m.words(m.first(x).transpose(1, 2).argmax(-1)).sum(1)),
        first=nn.Linear(3, 8),
        words=nn.Embedding(5, 6),
        last=nn.Linear(6, 2),
    )
    coupling = assert_removable(net, (torch.randn(2, 5, 3),))
    assert [group.name for group in coupling.groups] == ["words"]
    reasons = {str(f.axis): f.reason for f in coupling.frozen}
    assert "used as an index" in reasons["first.weight[0]"]
