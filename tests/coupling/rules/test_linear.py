"""Products with a weight matrix tie what they read and what they write."""

import pytest
import torch
import torch.nn.functional as F
from nets import Net, Whole
from oracle import assert_removable
from torch import nn


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
            lambda m, x: m.last(torch.addmm(m.b, m.first(x), m.w, beta=2)),
            w=weight(8, 8),
            b=weight(8),
        ),
        ((4, 3),),
        {},
        {"first.weight[0]": "a scaled sum"},
    ),
    "addmm_with_a_bias_per_row": Whole(
        two(lambda m, x: m.last(torch.addmm(m.b, m.first(x), m.w)), w=weight(8, 8), b=weight(8, 8)),
        ((8, 3),),
        {},
        {"first.weight[0]": "differs from row to row", "b[0]": "differs from row to row"},
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
        {},
        {"first.weight[0]": "a product of two activations"},
    ),
    "weight_on_the_left": Whole(
        two(lambda m, x: m.last((m.w @ m.first(x).t()).t()), w=weight(8, 8)),
        ((4, 3),),
        {},
        {"w[0]": "a product of two activations"},
    ),
    "weights_of_a_batch": Whole(
        two(lambda m, x: m.last(m.first(x) @ m.w), w=weight(2, 8, 8)),
        ((2, 5, 3),),
        {},
        {"w[2]": "a product of two activations"},
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
        {"first.weight[0]": "read by a weight that cannot shrink"},
    ),
    "sliced_weights": Whole(
        two(lambda m, x: m.last(F.linear(m.first(x), m.w[:8])), w=weight(9, 8)),
        ((4, 3),),
        {f"{FIRST} w[1]": 8},
        {"w[0]": "picked by position"},
    ),
    "bilinear": Whole(
        two(lambda m, x: m.last(m.pair(m.first(x), x)), pair=nn.Bilinear(8, 3, 8)),
        ((4, 3),),
        {},
        {"first.weight[0]": "no coupling rule"},
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
