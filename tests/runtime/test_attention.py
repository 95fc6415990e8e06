"""Attention with sizes from its tensors computes what torch's own does."""

import copy

import pytest
import torch
from support.oracle import randomize
from torch import nn

from lightning_prune.runtime.attention import TensorSizedAttention, take_sizes_from_tensors

OPTIONS = {
    "packed": {},
    "batch_first": {"batch_first": True},
    "no_bias": {"bias": False},
    "other_widths": {"kdim": 6, "vdim": 10},
    "appended": {"add_bias_kv": True},
}
PADDING = torch.tensor([[False, False, True, True, True], [False] * 5])
CAUSAL = torch.triu(torch.ones(4, 5, dtype=torch.bool), 1)
CALLS = {
    "plain": {},
    "without_weights": {"need_weights": False},
    "weights_of_heads": {"average_attn_weights": False},
    "padded": {"key_padding_mask": PADDING},
    "padded_without_weights": {"key_padding_mask": PADDING, "need_weights": False},
    "causal": {"attn_mask": CAUSAL},
    "additive": {"attn_mask": torch.randn(4, 5, dtype=torch.float64)},
    "mask_per_head": {"attn_mask": torch.randn(8, 4, 5, dtype=torch.float64)},
    "both": {"attn_mask": CAUSAL, "key_padding_mask": PADDING},
}


def both(**options):
    attention = randomize(nn.MultiheadAttention(8, 4, **options).double()).eval()
    sized = nn.ModuleList([copy.deepcopy(attention)])
    take_sizes_from_tensors(sized)
    assert type(sized[0]) is TensorSizedAttention
    assert list(sized[0].state_dict()) == list(attention.state_dict())
    return attention, sized[0]


def assert_equal(expected, obtained):
    for a, b in zip(expected, obtained, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_equal_to_the_attention_of_torch(options, call):
    attention, sized = both(**options)
    inputs = [
        torch.randn(4, 2, 8, dtype=torch.float64),
        torch.randn(5, 2, options.get("kdim", 8), dtype=torch.float64),
        torch.randn(5, 2, options.get("vdim", 8), dtype=torch.float64),
    ]
    if options.get("batch_first"):
        inputs = [x.transpose(0, 1) for x in inputs]
    assert_equal(attention(*inputs, **call), sized(*inputs, **call))


def test_equal_without_a_batch():
    attention, sized = both()
    query, key = (torch.randn(n, 8, dtype=torch.float64) for n in (4, 5))
    padding = {"key_padding_mask": PADDING[0]}
    assert_equal(attention(query, key, key, **padding), sized(query, key, key, **padding))


def test_fewer_heads_fit():
    _, sized = both(batch_first=True)
    rows = torch.cat([torch.arange(4) + 8 * part for part in range(3)])
    sized.in_proj_weight.data = sized.in_proj_weight.data[rows]
    sized.in_proj_bias.data = sized.in_proj_bias.data[rows]
    sized.out_proj.weight.data = sized.out_proj.weight.data[:, :4]
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    output, weights = sized(x, x, x, average_attn_weights=False)
    assert output.shape == (2, 5, 8)
    assert weights.shape == (2, 2, 5, 5)


def test_an_encoder_does_not_take_its_fused_path():
    layer = randomize(nn.TransformerEncoderLayer(8, 4, 16, batch_first=True).double()).eval()
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    sized = copy.deepcopy(encoder)
    take_sizes_from_tensors(sized)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(sized(x), encoder(x), rtol=1e-12, atol=1e-12)


def test_attention_with_an_appended_zero_stays():
    model = nn.ModuleList([nn.MultiheadAttention(8, 4, add_zero_attn=True)])
    take_sizes_from_tensors(model)
    assert type(model[0]) is nn.MultiheadAttention
