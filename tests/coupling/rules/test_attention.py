"""Heads are units in every form of attention; a single head loses features."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.nets import Net, Whole
from support.oracle import assert_removable, reasons, ties
from torch import Tensor, nn

from lightning_prune.coupling import couple

FEATURES = 4
TOKENS = 6
SHAPE = (2, TOKENS, 5)


def split(x: Tensor, features: int = FEATURES) -> Tensor:
    """[batch, tokens, heads * features] → [batch, heads, tokens, features]."""
    return x.unflatten(-1, (-1, features)).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def net(attend: Callable[..., Tensor], heads: int = 3, kv_heads: int = 3, **parts) -> Net:
    """Attention between a projection of 5 and one to 2; ``attend(m, q, k, v)`` is the middle."""

    def forward(m, x):
        q, k, v = (split(layer(x)) for layer in (m.q, m.k, m.v))
        return m.out(merge(attend(m, q, k, v)))

    return Net(
        forward,
        q=nn.Linear(5, heads * FEATURES),
        k=nn.Linear(5, kv_heads * FEATURES),
        v=nn.Linear(5, kv_heads * FEATURES),
        out=nn.Linear(heads * FEATURES, 2),
        **parts,
    )


def by_hand(m, q, k, v):
    return (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v


def sdpa(**options):
    return lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, **options)


def of_folded_heads(m, q, k, v):
    """The heads lie in the batch, as in old implementations."""
    b, _, n, d = q.shape
    q, k, v = (x.reshape(-1, n, d) for x in (q, k, v))
    scores = torch.baddbmm(torch.zeros(1, 1, 1).to(q), q, k.transpose(1, 2), beta=0, alpha=0.5)
    return torch.bmm(scores.softmax(-1), v).view(b, -1, n, d)


def einsums(m, q, k, v):
    scores = torch.einsum("bhnd,bhmd->bhnm", q, k)
    return torch.einsum("b h n m, b h m e -> b h n e", scores.softmax(-1), v)


def tokens_first(m, q, k, v):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    weights = torch.einsum("...nhd,...mhd->...hnm", q, k).softmax(-1)
    return torch.einsum("...hnm,...mhe->...nhe", weights, v).transpose(1, 2)


def causal_by_hand(m, q, k, v):
    mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    scores = (q @ k.transpose(-2, -1)).masked_fill(~mask, float("-inf"))
    return F.dropout(scores.softmax(-1, dtype=torch.float64), 0.1, False) @ v


def safely(m, q, k, v):
    return torch.ops.aten._safe_softmax(q @ k.transpose(-2, -1), -1) @ v


def rotated_halves(m, q, k, v):
    angles = torch.arange(TOKENS)[:, None] * torch.arange(1, FEATURES + 1) / 7

    def rotate(x):
        half = x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], -1)
        return x * angles.cos().to(x) + turned * angles.sin().to(x)

    return by_hand(m, rotate(q), rotate(k), v)


def rotated_pairs(m, q, k, v):
    angles = torch.arange(TOKENS)[:, None] * torch.arange(1, FEATURES // 2 + 1) / 7

    def rotate(x):
        even, odd = x[..., ::2], x[..., 1::2]
        cos, sin = angles.cos().to(x), angles.sin().to(x)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

    return by_hand(m, rotate(q), rotate(k), v)


def rotated_complex(m, q, k, v):
    angles = torch.arange(TOKENS)[:, None] * torch.arange(1, FEATURES // 2 + 1) / 7
    turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex128)

    def rotate(x):
        numbers = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(numbers * turns).flatten(-2).to(x)

    return by_hand(m, rotate(q), rotate(k), v)


def normalised(m, q, k, v):
    return by_hand(m, F.normalize(q, dim=-1) * m.q_scale, F.layer_norm(k, (FEATURES,)), v)


def biased(m, q, k, v):
    """A table of relative positions, one column for each head."""
    distance = torch.arange(TOKENS) - torch.arange(TOKENS)[:, None] + TOKENS
    bias = m.table(distance).permute(2, 0, 1)[None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.5)


def sloped(m, q, k, v):
    distance = (torch.arange(TOKENS) - torch.arange(TOKENS)[:, None]).to(q)
    return ((q @ k.transpose(-2, -1)) + m.slopes[:, None, None] * distance).softmax(-1) @ v


def scaled_for_each_head(m, q, k, v):
    return (q @ k.transpose(-2, -1) * m.scale.exp()).softmax(-1) @ v


def gated(m, q, k, v):
    return by_hand(m, q, k, v) * m.gate.sigmoid()[:, None, None]


def with_slopes() -> Net:
    model = net(sloped)
    model.register_buffer("slopes", torch.rand(3))
    return model


def with_frequencies() -> Net:
    """Rotation whose frequencies are a buffer, as in most language models."""

    def rotate(m, x):
        angles = torch.arange(x.shape[-2]).to(x)[:, None] * m.frequencies
        angles = torch.cat([angles, angles], -1)
        half = x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], -1)
        return x * angles.cos() + turned * angles.sin()

    model = net(lambda m, q, k, v: by_hand(m, rotate(m, q), rotate(m, k), v))
    model.register_buffer("frequencies", torch.rand(FEATURES // 2))
    return model


PROJECTIONS = "k.bias[0] k.weight[0] out.weight[1] q.bias[0] q.weight[0] v.bias[0] v.weight[0]"


def tied(extra: str = "") -> str:
    return " ".join(sorted(f"{PROJECTIONS} {extra}".split()))


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def row(attend, extra: str = "", frozen: dict[str, str] | None = None, **parts) -> Whole:
    return Whole(lambda: net(attend, **parts), (SHAPE,), {tied(extra): 3}, frozen or {})


HEADS = {
    "by_hand": row(by_hand),
    "fused": row(sdpa()),
    "fused_and_causal": row(sdpa(is_causal=True)),
    "fused_with_a_mask": row(sdpa(attn_mask=torch.rand(TOKENS, TOKENS) > 0.2)),
    "folded_into_the_batch": row(of_folded_heads),
    "einsums": row(einsums),
    "einsums_of_tokens_first": row(tokens_first),
    "causal_by_hand": row(causal_by_hand),
    "safe_softmax": row(safely),
    "rotated_halves": row(rotated_halves),
    "rotated_pairs": row(rotated_pairs),
    "rotated_as_complex_numbers": row(rotated_complex),
    "rotated_by_a_buffer": Whole(with_frequencies, (SHAPE,), {tied(): 3}),
    "normalised_over_features": row(
        normalised,
        q_scale=parameter(FEATURES),
        frozen={"q_scale[0]": "meets a value that cannot shrink"},
    ),
    "scaled_over_features": row(
        lambda m, q, k, v: by_hand(m, q * m.scale, k, v),
        scale=parameter(FEATURES),
        frozen={"scale[0]": "shared by all along a leading dimension"},
    ),
    "shifted_over_features": row(
        lambda m, q, k, v: by_hand(m, m.shift + q, k, v + m.shift),
        shift=parameter(FEATURES),
        frozen={"shift[0]": "shared by all along a leading dimension"},
    ),
    "mixed_over_features": row(
        lambda m, q, k, v: by_hand(m, m.mix(q), k, v),
        mix=nn.Linear(FEATURES, FEATURES),
        frozen={"mix.weight[0]": "multiplied with a value that cannot shrink"},
    ),
    "convolved_over_features": row(
        lambda m, q, k, v: by_hand(m, m.pool(q.flatten(0, 1).mT).mT.reshape(q.shape), k, v),
        pool=nn.Conv1d(FEATURES, FEATURES, 3, padding=1, groups=FEATURES),
        frozen={"pool.weight[0]": "multiplied with a value that cannot shrink"},
    ),
    "relative_positions": row(
        biased,
        "table.weight[1]",
        table=nn.Embedding(2 * TOKENS, 3),
        frozen={"table.weight[0]": "rows are picked by data"},
    ),
    "slopes_in_a_buffer": Whole(with_slopes, (SHAPE,), {tied(): 3}),
    "a_scale_for_each_head": row(scaled_for_each_head, "scale[0]", scale=parameter(3, 1, 1)),
    "a_gate_for_each_head": row(gated, "gate[0]", gate=parameter(3)),
}


@pytest.mark.parametrize("row", HEADS.values(), ids=HEADS)
def test_heads_are_units(row):
    row.check()


def repeated(m, q, k, v):
    k, v = (x[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for x in (k, v))
    return by_hand(m, q, k, v)


def grouped_by_view(m, q, k, v):
    q = q.unflatten(1, (-1, 2))
    return by_hand(m, q, k[:, :, None], v[:, :, None]).flatten(1, 2)


GROUPED = {"fused": sdpa(enable_gqa=True), "repeated": repeated, "viewed": grouped_by_view}


@pytest.mark.parametrize("attend", GROUPED.values(), ids=GROUPED)
def test_queries_that_share_a_key_are_one_unit(attend):
    coupling = assert_removable(net(attend, heads=6, kv_heads=3), (torch.randn(SHAPE),))
    assert ties(coupling) == {tied(): 3}
    widths = {str(member.axis): member.width for member in coupling.groups[0].parameters}
    assert widths["q.weight[0]"] == widths["out.weight[1]"] == 2 * FEATURES
    assert widths["k.weight[0]"] == widths["v.bias[0]"] == FEATURES


def over_copies(copy):
    return lambda m, q, k, v: F.scaled_dot_product_attention(q, copy(k, q), copy(v, q))


def by_letters(m, q, k, v):
    weights = torch.einsum("bhnd,bmd->bhnm", q, k[:, 0]).softmax(-1)
    return torch.einsum("bhnm,bme->bhne", weights, v[:, 0])


def in_rows(m, q, k, v):
    """Heads lie beside the tokens, as in GPT-BigCode."""
    rows = q.transpose(1, 2).flatten(1, 2)
    weights = torch.bmm(rows, k[:, 0].mT).unflatten(1, (q.shape[2], -1)).softmax(-1)
    return torch.bmm(weights.flatten(1, 2), v[:, 0]).unflatten(1, (q.shape[2], -1)).transpose(1, 2)


def sloped_here(m, q, k, v):
    slopes = torch.pow(0.5, torch.arange(1, q.shape[1] + 1).to(q))
    return (q @ k.mT + slopes[:, None, None] * torch.arange(TOKENS).to(q)).softmax(-1) @ v


ONE_KEY = {
    "by_hand": by_hand,
    "fused": sdpa(),
    "fused_in_groups": sdpa(enable_gqa=True),
    "rotated": rotated_halves,
    "letters": by_letters,
    "in_rows": in_rows,
    "expanded": over_copies(lambda x, q: x.expand(-1, q.shape[1], -1, -1)),
    "expanded_as_queries": over_copies(lambda x, q: x.expand_as(q)),
    "repeated": over_copies(lambda x, q: x.repeat(1, q.shape[1], 1, 1)),
    "repeated_one_by_one": over_copies(lambda x, q: x.repeat_interleave(q.shape[1], 1)),
    "copied_and_merged": over_copies(
        lambda x, q: x[:, :, None].expand(-1, -1, q.shape[1], -1, -1).flatten(1, 2)
    ),
}


@pytest.mark.parametrize("attend", ONE_KEY.values(), ids=ONE_KEY)
def test_queries_that_all_share_one_key_are_units_of_their_own(attend):
    coupling = assert_removable(net(attend, kv_heads=1), (torch.randn(SHAPE),))
    assert ties(coupling) == {"out.weight[1] q.bias[0] q.weight[0]": 3}
    assert coupling.groups[0].apart
    assert reasons(coupling, "k.weight[0]")
    assert "a second label on one dimension" in reasons(coupling, "v.weight[0]")


def test_slopes_of_queries_that_share_one_key_are_picked():
    coupling = couple(net(sloped_here, kv_heads=1), torch.randn(SHAPE))
    assert ties(coupling) == {"out.weight[1] q.bias[0] q.weight[0]": 3}
    assert coupling.groups[0].apart


ONE_KEY_PACKED = {
    "in_parts": lambda x: x.split([x.shape[1] - 2, 1, 1], 1),
    "in_slices": lambda x: (x[:, :-2], x[:, -2:-1], x[:, -1:]),
    "the_key_first": lambda x: (x[:, 2:], x[:, 0:1], x[:, 1:2]),
    "two_and_two": lambda x: (x[:, :-2], *x[:, -2:].split(1, 1)),
}


@pytest.mark.parametrize("cut", ONE_KEY_PACKED.values(), ids=ONE_KEY_PACKED)
def test_a_packed_projection_loses_queries_and_keeps_what_they_share(cut):
    def forward(m, x):
        return m.out(merge(by_hand(m, *cut(split(m.qkv(x))))))

    model = Net(forward, qkv=nn.Linear(5, 5 * FEATURES), out=nn.Linear(3 * FEATURES, 2))
    coupling = assert_removable(model, (torch.randn(SHAPE),))
    assert ties(coupling) == {"out.weight[1] qkv.bias[0] qkv.weight[0]": 3}
    (frozen,) = (f for f in coupling.frozen if str(f.axis) == "qkv.weight[0]")
    assert frozen.positions == 2 * FEATURES


def test_features_that_are_turned_in_pairs_are_not_multiplied_apart():
    def forward(m, x):
        q, k = (rotated_in_place(layer(x)) for layer in (m.q, m.k))
        return m.out(q.softmax(-1) @ (k.mT @ m.v(x)))

    def rotated_in_place(x):
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even - odd, even + odd], -1).flatten(-2)

    layers = {name: nn.Linear(5, size) for name, size in (("q", 8), ("k", 8), ("v", 6))}
    groups = couple(Net(forward, **layers, out=nn.Linear(6, 2)), torch.randn(SHAPE)).groups
    assert groups
    assert not any(group.apart for group in groups if group.units < 6)


def single(attend: Callable[..., Tensor], **parts) -> Callable[[], Net]:
    def forward(m, x):
        return m.out(attend(m, m.q(x)[:, None], m.k(x)[:, None], m.v(x)[:, None])[:, 0])

    layers = {name: nn.Linear(5, size) for name, size in (("q", 8), ("k", 8), ("v", 6))}
    return lambda: Net(forward, **layers, out=nn.Linear(6, 2), **parts)


QUERY = "k.bias[0] k.weight[0] q.bias[0] q.weight[0]"
VALUE = "out.weight[1] v.bias[0] v.weight[0]"
ONE_HEAD = {
    "by_hand": Whole(single(by_hand), (SHAPE,), {QUERY: 8, VALUE: 6}),
    "fused": Whole(single(sdpa(scale=0.3)), (SHAPE,), {QUERY: 8, VALUE: 6}),
    "scaled_over_features": Whole(
        single(lambda m, q, k, v: by_hand(m, q * m.scale, k, v), scale=parameter(8)),
        (SHAPE,),
        {f"{QUERY} scale[0]": 8, VALUE: 6},
    ),
    "positive_features": Whole(
        single(lambda m, q, k, v: by_hand(m, F.elu(q) + 1, k, v)), (SHAPE,), {QUERY: 8, VALUE: 6}
    ),
    "all_features_positive": Whole(
        single(lambda m, q, k, v: by_hand(m, F.elu(q) + 1, F.elu(k) + 1, v)),
        (SHAPE,),
        {VALUE: 6},
        {"q.weight[0]": "a removed coordinate would add a constant"},
    ),
    "rotated_halves": Whole(
        single(lambda m, q, k, v: rotated_halves(m, q[..., -FEATURES:], k[..., -FEATURES:], v)),
        (SHAPE,),
        {VALUE: 6, QUERY: 2, "k.bias[0] k.weight[0]": 4, "q.bias[0] q.weight[0]": 4},
        corrected=True,
    ),
}


@pytest.mark.parametrize("row", ONE_HEAD.values(), ids=ONE_HEAD)
def test_a_single_head_loses_features(row):
    row.check()


def each_its_own(m, q, k, v):
    """Every head has a constant of its own, which is written in place."""
    slopes = 2.0 ** -torch.arange(3)[:, None, None].to(q)
    distance = (torch.arange(TOKENS) - torch.arange(TOKENS)[:, None]).to(q)
    scores = (slopes * distance).repeat(len(q), 1, 1, 1)
    return scores.add_(q @ k.transpose(-2, -1) / 2).softmax(-1) @ v


def test_where_heads_must_stay_their_features_may_go():
    def forward(m, x):
        q, k, v = (layer(x).unflatten(-1, (3, -1)).transpose(1, 2) for layer in (m.q, m.k, m.v))
        return m.out(merge(each_its_own(m, q, k, v)))

    layers = {name: nn.Linear(5, 24) for name in "qkv"}
    model = Net(forward, **layers, out=nn.Linear(24, 2))
    coupling = assert_removable(model, (torch.randn(SHAPE),))
    assert ties(coupling) == {QUERY: 8, VALUE: 8}
    assert {m.width for group in coupling.groups for m in group.parameters} == {3}


def test_features_of_queries_are_read_by_keys_that_no_weight_tells_of():
    (first, second) = assert_removable(single(by_hand)(), (torch.randn(SHAPE),)).groups
    assert first.exposed.all()
    assert second.exposed is None


def packed(cut: Callable[[Tensor], list[Tensor]]) -> Callable[[], Net]:
    def forward(m, x):
        return m.out(merge(by_hand(m, *cut(m.qkv(x)))))

    return lambda: Net(forward, qkv=nn.Linear(5, 36), out=nn.Linear(12, 2))


PACKED = {
    "in_chunks": lambda x: [split(part) for part in x.chunk(3, -1)],
    "in_equal_parts": lambda x: [split(part) for part in x.split(x.shape[-1] // 3, -1)],
    "in_parts": lambda x: [split(part) for part in x.split([x.shape[-1] // 3] * 3, -1)],
    "in_slices": lambda x: [
        split(x[..., i * x.shape[-1] // 3 : (i + 1) * x.shape[-1] // 3]) for i in range(3)
    ],
    "before_heads": lambda x: x.unflatten(-1, (3, -1, FEATURES)).permute(2, 0, 3, 1, 4).unbind(0),
    "between_heads": lambda x: x.unflatten(-1, (-1, 3, FEATURES)).transpose(1, 2).unbind(3),
    "within_heads": lambda x: split(x, 3 * FEATURES).chunk(3, -1),
    "split_within_heads": lambda x: split(x, 3 * FEATURES).split(FEATURES, -1),
}


@pytest.mark.parametrize("cut", PACKED.values(), ids=PACKED)
def test_packed_projections_lose_a_head_from_every_part(cut):
    coupling = assert_removable(packed(cut)(), (torch.randn(SHAPE),))
    assert ties(coupling) == {"out.weight[1] qkv.bias[0] qkv.weight[0]": 3}


def test_talking_heads_lose_those_that_speak_and_those_that_are_spoken_to():
    def talking(m, q, k, v):
        scores = (q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)
        return m.talk(scores).permute(0, 3, 1, 2).softmax(-1) @ v

    speaking = "k.bias[0] k.weight[0] q.bias[0] q.weight[0] talk.weight[1]"
    spoken_to = "out.weight[1] talk.bias[0] talk.weight[0] v.bias[0] v.weight[0]"
    Whole(lambda: net(talking, talk=nn.Linear(3, 3)), (SHAPE,), {speaking: 3, spoken_to: 3}).check()


def test_a_table_that_layers_share_ties_their_heads():
    def forward(m, x):
        distance = torch.arange(TOKENS) - torch.arange(TOKENS)[:, None] + TOKENS
        bias = m.table(distance).permute(2, 0, 1)[None]
        return m.second((bias, m.first((bias, x))))

    def layer():
        def attend(m, given):
            bias, x = given
            q, k, v = (split(part(x)) for part in (m.q, m.k, m.v))
            return m.out(merge(F.scaled_dot_product_attention(q, k, v, bias)))

        sizes = {name: nn.Linear(5, 12) for name in "qkv"}
        return Net(attend, **sizes, out=nn.Linear(12, 5))

    model = Net(forward, first=layer(), second=layer(), table=nn.Embedding(2 * TOKENS, 3))
    (heads,) = (
        group for group in assert_removable(model, (torch.randn(SHAPE),)).groups if group.units == 3
    )
    assert {m.axis.tensor.rpartition(".")[0] for m in heads.parameters} == {
        "table",
        *(f"{layer}.{part}" for layer in ("first", "second") for part in ("q", "k", "v", "out")),
    }


def test_weights_with_a_dimension_for_heads_lose_heads_and_features():
    def forward(m, x):
        q, k, v = (torch.einsum("bnc,chd->bhnd", x, w) for w in (m.q, m.k, m.v))
        return torch.einsum("bhnd,hde->bne", by_hand(m, q, k, v), m.out)

    Whole(
        lambda: Net(
            forward,
            **{name: parameter(5, 3, 4) for name in "qkv"},
            out=parameter(3, 4, 2),
        ),
        (SHAPE,),
        {"k[1] out[0] q[1] v[1]": 3, "k[2] q[2]": 4, "out[1] v[2]": 4},
    ).check()


def test_labelled_positions_under_a_causal_mask_stay():
    Whole(
        lambda: Net(
            lambda m, x: F.scaled_dot_product_attention(m.q(x).mT, x, x, is_causal=True).sum(1),
            q=nn.Linear(5, 5),
        ),
        ((2, 5, 5),),
        {},
        {"q.weight[0]": "normalised over a labelled dimension"},
    ).check()
