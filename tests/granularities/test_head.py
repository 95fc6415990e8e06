import copy

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.compaction import compact
from lightning_prune.coupling import couple
from lightning_prune.criteria import Magnitude
from lightning_prune.granularities import Head
from lightning_prune.pruning import prune


class Attention(nn.Module):
    def __init__(self, heads=4, shared=1):
        super().__init__()
        self.heads, self.shared = heads, shared
        self.embed = nn.Linear(5, 16)
        self.q, self.out = nn.Linear(16, 4 * heads), nn.Linear(4 * heads, 16)
        self.k, self.v = (nn.Linear(16, 4 * heads // shared) for _ in range(2))
        self.hidden, self.head = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = (
            part(x).unflatten(-1, (-1, 4)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=self.shared > 1)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return self.head(torch.relu(self.hidden(x.mean(1))))


class Biased(Attention):
    """Attention with a table of biases: a number for each pair of positions and each head."""

    def __init__(self, by_head=True):
        super().__init__()
        self.by_head = by_head
        self.table = nn.Parameter(torch.randn((4, 6, 6) if by_head else (36, 4)))

    def forward(self, x):
        x = self.embed(x)
        q, k, v = (
            part(x).unflatten(-1, (-1, 4)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        bias = self.table if self.by_head else self.table.T.reshape(4, 6, 6)
        y = (q @ k.transpose(2, 3) / 2 + bias).softmax(-1) @ v
        return self.head(
            torch.relu(self.hidden((x + self.out(y.transpose(1, 2).flatten(2))).mean(1)))
        )


class Interleaved(Attention):
    """One projection writes queries, keys and values head by head, as in GPT-NeoX."""

    def __init__(self):
        super().__init__()
        del self.q, self.k, self.v
        self.qkv = nn.Linear(16, 48)

    def forward(self, x):
        x = self.embed(x)
        q, k, v = self.qkv(x).view(*x.shape[:2], 4, 12).transpose(1, 2).chunk(3, -1)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return self.head(torch.relu(self.hidden(x.mean(1))))


class OwnAxis(Attention):
    """Projections have an axis for heads, as in XLNet, or are a stack of those of single heads."""

    def __init__(self, stacked=False):
        super().__init__()
        self.letters = "neh" if stacked else "enh"
        shape = (4, 16, 4) if stacked else (16, 4, 4)
        for name in "qkv":
            delattr(self, name)
            setattr(self, name, nn.Parameter(torch.randn(shape) / 4))
        self.shift = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        x = self.embed(x)
        parts = (self.q, self.k, self.v)
        q, k, v = (torch.einsum(f"bie,{self.letters}->binh", x, part) for part in parts)
        weights = torch.einsum("binh,bjnh->bnij", q + self.shift, k).softmax(-1)
        x = x + self.out(torch.einsum("bnij,bjnh->binh", weights, v).flatten(2))
        return self.head(torch.relu(self.hidden(x.mean(1))))


def fused():
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Linear(5, 16), layer, nn.Linear(16, 3))


class OneKey(Attention):
    """Queries of many heads share one head of keys and values, in forms that were published.

    Args:
        form: how they meet.
        packed: one projection writes all queries, the keys and the values, as in Falcon.
    """

    def __init__(self, form, packed=False):
        super().__init__()
        self.form, self.packed, self.width = form, packed, 4
        self.head = nn.Linear(16, 3)
        del self.hidden
        if packed:
            del self.q, self.k, self.v
            self.qkv = nn.Linear(16, 24)
        else:
            self.k, self.v = nn.Linear(16, 4), nn.Linear(16, 4)

    def parts(self, x):
        if self.packed:
            parts = self.qkv(x).view(*x.shape[:2], self.heads + 2, self.width)
            return (part.transpose(1, 2) for part in parts.split([self.heads, 1, 1], 2))
        q = self.q(x).view(*x.shape[:2], self.heads, self.width).transpose(1, 2)
        return q, self.k(x)[:, None], self.v(x)[:, None]

    def attend(self, q, k, v, mask):
        if self.form == "expanded":
            k, v = k.expand(-1, self.heads, -1, -1), v.expand(-1, self.heads, -1, -1)
        if self.form == "repeated":
            k, v = k.repeat_interleave(self.heads, dim=1), v.repeat(1, self.heads, 1, 1)
        if self.form == "counted":
            k, v = k.repeat_interleave(4, 1), torch.repeat_interleave(v, dim=1, repeats=4)
        if self.form == "letters":
            weights = torch.einsum("bhnd,bmd->bhnm", q, k[:, 0]) + mask
            return torch.einsum("bhnm,bme->bhne", weights.softmax(-1), v[:, 0])
        if self.form == "broadcast":
            return (q @ k.mT / 2 + mask).softmax(-1) @ v
        if self.form == "sloped":
            slopes = 2.0 ** (-8.0 / self.heads * torch.arange(1, self.heads + 1).to(q))
            bias = slopes[:, None, None] * torch.arange(k.shape[2]).to(q)
            return (q @ k.mT / 2 + bias + mask).softmax(-1) @ v
        return nn.functional.scaled_dot_product_attention(
            q, k, v, mask, enable_gqa=self.form == "fused"
        )

    def forward(self, x, past=None):
        x = self.embed(x)
        q, k, v = self.parts(x)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        n, m = q.shape[2], k.shape[2]
        mask = torch.zeros(n, m).to(q).masked_fill(torch.ones(n, m).triu(m - n + 1) > 0, -1e9)
        y = self.attend(q, k, v, mask)
        return self.head(x + self.out(y.transpose(1, 2).flatten(2))), (k, v)


X = torch.randn(2, 6, 5)


@pytest.mark.parametrize(
    ("make", "name", "units"),
    [
        pytest.param(Attention, "q", 4, id="separate"),
        pytest.param(lambda: Attention(4, 2), "q", 2, id="grouped queries"),
        pytest.param(fused, "1.self_attn", 4, id="fused"),
        pytest.param(Interleaved, "qkv", 4, id="interleaved"),
        pytest.param(Biased, "q", 4, id="biased"),
        pytest.param(lambda: Biased(by_head=False), "q", 4, id="biased by position"),
        pytest.param(OwnAxis, "q", 4, id="an axis of its own"),
        pytest.param(lambda: OwnAxis(stacked=True), "q", 4, id="stacked"),
    ],
)
def test_heads_are_found_among_all_groups(make, name, units):
    model = make()
    structure = couple(model, X).structure
    assert len(structure.coupled) > 1
    groups = Head().groups(dict(model.named_parameters()), structure)
    assert [(g.name, g.units) for g in groups] == [(name, units)]


def test_channels_of_a_decoder_are_no_heads():
    # Every channel owns 9 neighbouring rows of one projection.
    model = nn.Sequential(nn.Linear(5, 36), nn.Unflatten(1, (4, 3, 3)), nn.Conv2d(4, 2, 3))
    structure = couple(model, torch.randn(2, 5)).structure
    assert [g.units for g in structure.coupled] == [4]
    assert Head().groups(dict(model.named_parameters()), structure) == []


@pytest.mark.parametrize(
    "middle",
    [
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.Conv2d(8, 8, 1)),
        nn.Sequential(nn.GroupNorm(4, 8), nn.Conv2d(8, 8, 1)),
    ],
    ids=["grouped convolution", "group norm"],
)
def test_groups_of_channels_are_no_heads(middle):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), middle, nn.Conv2d(8, 2, 1))
    structure = couple(model, torch.randn(2, 3, 6, 6)).structure
    assert len(structure.coupled) > 1
    assert Head().groups(dict(model.named_parameters()), structure) == []


@pytest.mark.parametrize("make", [Attention, Biased, lambda: Biased(by_head=False)])
def test_half_of_the_heads_go_and_compaction_takes_them_out(make):
    model = make()
    report = prune(model, X, sparsity=0.5, criterion=Magnitude(), granularity=Head(), of="units")
    assert [g.kept for g in report.groups] == [2]
    model.eval()
    expected = model(X)
    compact(model, X)
    assert model.q.out_features == 8
    assert torch.allclose(model(X), expected, atol=1e-5)


@pytest.mark.parametrize("stacked", [False, True])
def test_heads_with_an_axis_of_their_own_go(stacked):
    model = OwnAxis(stacked).eval()
    prune(model, X, sparsity=0.5, criterion=Magnitude(), granularity=Head(), of="units")
    x = torch.randn(3, 9, 5)
    expected = model(x)
    assert compact(model, X, latency=False).refused == {}
    assert model.q.shape == ((2, 16, 4) if stacked else (16, 2, 4))
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_a_floor_of_heads():
    model = Attention()
    (group,) = Head().groups(dict(model.named_parameters()), couple(model, X).structure)
    assert Head(min_units=3).floor(group) == 3
    with pytest.raises(ValueError, match="Expected `min_units`"):
        Head(min_units=0)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_model_without_attention_is_refused_with_what_to_use(kind: type[nn.Module]) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = kind(6, 8, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.cells(x)[0][:, -1])

    recipe = {"sparsity": 0.5, "criterion": lp.Magnitude()}
    with pytest.raises(lp.TargetError, match=r"got no attention .*Use Channel\(\), .*LSTM, GRU"):
        lp.prune(Recurrent(), torch.randn(2, 5, 6), granularity=Head(), **recipe)
    lp.prune(Recurrent(), torch.randn(2, 5, 6), granularity=lp.Channel(), **recipe)


def transformers_models():
    library = pytest.importorskip("transformers")
    tokens = torch.randint(0, 50, (2, 7))
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    beit = {"intermediate_size": 32, "image_size": 32, "patch_size": 8}
    swin = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "window_size": 4}
    t5 = {"vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4}
    t5 = library.T5Config(**t5, use_cache=False)
    beit = library.BeitConfig(**sizes, **beit, use_relative_position_bias=True)
    swin = library.SwinConfig(**swin, depths=[2, 2], num_heads=[2, 4])
    texts = {"input_ids": tokens, "decoder_input_ids": tokens}
    images = {"pixel_values": torch.randn(2, 3, 32, 32)}
    return {
        "T5": (library.T5ForConditionalGeneration(t5), texts, [4, 4, 4]),  # layers share a table
        "BEiT": (library.BeitModel(beit), images, [4, 4]),
        "Swin": (library.SwinModel(swin), images, [2, 2, 4, 4]),
    }


@pytest.mark.parametrize("name", ["T5", "BEiT", "Swin"])
def test_heads_with_a_table_of_biases_go_from_real_models(name):
    model, inputs, heads = transformers_models()[name]
    report = prune(
        model.eval(), inputs, sparsity=0.5, criterion=lp.Random(), granularity=Head(), of="units"
    )
    assert sorted(g.units for g in report.groups) == heads
    compacted = compact(model, inputs, latency=False)
    assert compacted.refused == {}
    assert compacted.max_rel_error < 1e-5
    assert sum(g.removed for g in report.groups) == sum(heads) // 2


@pytest.mark.parametrize("packed", [False, True], ids=["separate", "packed"])
@pytest.mark.parametrize(
    "form", ["expanded", "repeated", "counted", "letters", "broadcast", "fused", "sloped"]
)
def test_heads_that_share_one_key_go_and_leave_it(form, packed):
    model = OneKey(form, packed).eval()
    report = prune(model, X, sparsity=0.5, criterion=lp.Random(), granularity=Head(), of="units")
    assert [(g.units, g.kept) for g in report.groups] == [(4, 2)]
    masked = copy.deepcopy(model)
    assert compact(model, X, latency=False).refused == {}
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert sizes["out.weight"] == (16, 2 * 4)
    if packed:
        assert sizes["qkv.weight"] == ((2 + 2) * 4, 16)
    else:
        assert (sizes["q.weight"], sizes["k.weight"]) == ((2 * 4, 16), (4, 16))
    for training in (False, True):
        for shape in ((1, 1, 5), (3, 9, 5), (4, 4, 5)):
            pair = [net.train(training).double() for net in (masked, model)]
            x = torch.randn(shape).double()
            (expected, past), (found, kept) = (net(x) for net in pair)
            assert torch.allclose(found, expected, atol=1e-12)
            step = torch.randn(shape[0], 1, 5).double()
            expected, found = pair[0](step, past)[0], pair[1](step, kept)[0]
            assert torch.allclose(found, expected, atol=1e-12)


def multi_query_models():
    library = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 32}
    gemma = library.GemmaConfig(**sizes, **heads, head_dim=4)
    bigcode = {"vocab_size": 50, "n_embd": 16, "n_head": 4, "n_layer": 1, "multi_query": True}
    bigcode |= dict.fromkeys(["attn_pdrop", "resid_pdrop", "embd_pdrop"], 0.0)
    bigcode = library.GPTBigCodeConfig(**bigcode)
    return {
        "Gemma": library.GemmaForCausalLM(gemma),
        "GPT-BigCode": library.GPTBigCodeForCausalLM(bigcode),
    }


@pytest.mark.parametrize("name", ["Gemma", "GPT-BigCode"])
def test_heads_that_share_one_key_go_from_real_models(name):
    model = multi_query_models()[name].eval()
    mask = torch.ones(2, 9).long()
    mask[1, :3] = 0
    x = {"input_ids": torch.randint(0, 50, (2, 9)), "attention_mask": mask, "use_cache": False}
    report = prune(model, x, sparsity=0.5, criterion=lp.Random(), granularity=Head(), of="units")
    assert [(g.units, g.kept) for g in report.groups] == [(4, 2)]
    masked = copy.deepcopy(model)
    assert compact(model, x, latency=False).refused == {}
    for shape in ((1, 5), (3, 17)):
        text, seen = torch.randint(0, 50, shape), torch.ones(shape).long()
        seen[0, :2] = 0
        given = {"input_ids": text, "attention_mask": seen}
        assert torch.allclose(model(**given).logits, masked(**given).logits, atol=1e-5)
