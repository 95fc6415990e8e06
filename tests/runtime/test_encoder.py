"""An encoder without nested tensors computes what torch's own does, padding included."""

import copy
import pickle

import pytest
import torch
from support.oracle import randomize
from torch import nn

from lightning_prune.compaction import compact, load_compact, save_compact
from lightning_prune.compaction.completion import free_attentions
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.criteria import Magnitude
from lightning_prune.granularities import Channel
from lightning_prune.pruning import prune
from lightning_prune.runtime.attention import TensorSizedAttention, take_sizes_from_tensors
from lightning_prune.runtime.encoder import TensorSizedEncoder

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")

X = torch.randn(2, 5, 8, dtype=torch.float64)
BEHIND = torch.tensor([[False, False, False, True, True], [False] * 5])


def additive(mask):
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(mask, float("-inf"))


PADDING = {
    "none": None,
    "behind": BEHIND,
    "before": BEHIND.flip(1),
    "with gaps": torch.tensor([[False, True, False, True, False], [False] * 5]),
    "everything": torch.tensor([[True] * 5, [False] * 5]),
    "additive": additive(BEHIND),
    "additive and finite": torch.tensor([[0.0, 0, 0, 0.7, 0.2], [0] * 5], dtype=torch.float64),
}
ENCODERS = {
    "plain": {},
    "normed": {"norm": nn.LayerNorm(8)},
    "unchecked": {"mask_check": False},
}
LAYERS = {
    "plain": {},
    "norm first": {"norm_first": True},
    "positions first": {"batch_first": False},
    "gelu": {"activation": "gelu"},
    "without biases": {"bias": False},
    "odd heads": {"nhead": 1},
}


def both(layer=None, **options):
    own = {"d_model": 8, "nhead": 4, "dim_feedforward": 16, "batch_first": True} | (layer or {})
    full = nn.TransformerEncoder(nn.TransformerEncoderLayer(**own), 2, **options)
    full = randomize(full).double().eval()
    sized = copy.deepcopy(full)
    take_sizes_from_tensors(sized)
    sized.__class__ = TensorSizedEncoder
    return full, sized


def assert_same(full, sized, x, **given):
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            expected, obtained = full(x, **given), sized(x, **given)
        torch.testing.assert_close(obtained, expected, rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
@pytest.mark.parametrize("options", ENCODERS.values(), ids=ENCODERS)
def test_equal_to_the_encoder_of_torch(options, padding):
    assert_same(*both(**options), X, src_key_padding_mask=padding)


def test_equal_where_torch_was_told_to_make_no_nested_tensors():
    assert_same(*both(enable_nested_tensor=False), X, src_key_padding_mask=BEHIND)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_equal_with_layers_of_every_kind(layer):
    x = X if layer.get("batch_first", True) else X.transpose(0, 1)
    assert_same(*both(layer), x, src_key_padding_mask=BEHIND)


def test_zeros_stand_behind_only_where_those_of_torch_do():
    full, sized = both()
    with torch.no_grad():
        assert not full(X, src_key_padding_mask=BEHIND)[BEHIND].any()
        assert not sized(X, src_key_padding_mask=BEHIND)[BEHIND].any()
    assert sized(X, src_key_padding_mask=BEHIND)[BEHIND].all()


def test_equal_with_a_mask_beside_the_padding():
    causal = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    assert_same(*both(), X, mask=causal, src_key_padding_mask=BEHIND)
    assert_same(*both(), X, mask=causal, is_causal=True)


def test_equal_without_a_batch():
    assert_same(*both(), X[0], src_key_padding_mask=BEHIND[0])


@pytest.mark.parametrize("fast", [True, False])
def test_equal_with_the_fast_path_on_or_off(fast, monkeypatch):
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: fast)
    assert_same(*both(), X, src_key_padding_mask=BEHIND)


def test_equal_in_train_mode():
    full, sized = both({"dropout": 0.0})
    assert_same(full.train(), sized.train(), X, src_key_padding_mask=BEHIND)


def test_equal_where_nothing_asks_for_gradients():
    full, sized = (model.requires_grad_(False) for model in both())
    assert not sized(X, src_key_padding_mask=BEHIND)[BEHIND].any()
    assert_same(full, sized, X, src_key_padding_mask=BEHIND)


def test_it_remembers_whether_it_would_have_nested():
    _, sized = both()
    assert sized.use_nested_tensor is False
    again = pickle.loads(pickle.dumps(sized))
    assert_same(sized, again, X, src_key_padding_mask=BEHIND)
    sized.use_nested_tensor = False
    with torch.no_grad():
        assert sized(X, src_key_padding_mask=BEHIND)[BEHIND].all()
    sized.__class__ = nn.TransformerEncoder
    assert sized.use_nested_tensor is False


class Sequence(nn.Module):
    """An encoder between two layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(16))

    def forward(self, x, padding=None):
        return self.last(self.encoder(self.first(x), src_key_padding_mask=padding))


PARTS = {"all": None, "attention": ["*self_attn*"], "hidden units": ["*linear1"]}


@pytest.mark.parametrize("include", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("padded", [True, False])
def test_a_compact_encoder_pads_like_the_masked_one(include, padded, tmp_path):
    net = randomize(Sequence()).double().eval()
    examples = (X, BEHIND) if padded else (X,)
    prune(
        net, examples, sparsity=0.4, criterion=Magnitude(), granularity=Channel(), include=include
    )
    full = copy.deepcopy(net)
    report = compact(net, examples, latency=False)
    assert report.removed > 0
    assert_same(full, net, X)
    assert_same(full, net, X, padding=BEHIND)
    save_compact(net, tmp_path / "small.safetensors")
    loaded = load_compact(Sequence().double().eval(), tmp_path / "small.safetensors")
    assert_same(full, loaded, X, padding=BEHIND)


def test_surgery_swaps_the_encoder_around_an_attention_and_takes_it_back():
    full, _ = both()
    surgery = Surgery(full)
    surgery.apply(Plan(swaps=free_attentions(full, ["layers.0.self_attn"])))
    assert type(full) is TensorSizedEncoder
    assert type(full.layers[0].self_attn) is TensorSizedAttention
    surgery.undo()
    assert type(full) is nn.TransformerEncoder
    assert full.use_nested_tensor is True
