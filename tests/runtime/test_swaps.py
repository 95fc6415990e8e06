"""Only layers that are exactly torch's own are swapped, by values that fit them."""

import json

import pytest
from torch import nn

from lightning_prune.runtime.attention import TensorSizedAttention
from lightning_prune.runtime.encoder import TensorSizedEncoder
from lightning_prune.runtime.norms import WideLayerNorm, WideRMSNorm
from lightning_prune.runtime.swaps import (
    CLASSES,
    SWAPS,
    EncodeByTensors,
    SizeByTensors,
    WidenNorm,
    swap_from_json,
)


def encoder() -> nn.TransformerEncoder:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, batch_first=True), 1)


class Mine(nn.LayerNorm):
    """A norm that may compute anything."""


@pytest.mark.parametrize(
    ("swap", "module", "kind"),
    [
        (SizeByTensors(), nn.MultiheadAttention(4, 2), TensorSizedAttention),
        (EncodeByTensors(), encoder(), TensorSizedEncoder),
        (WidenNorm(4), nn.LayerNorm(4), WideLayerNorm),
        (WidenNorm(4), nn.RMSNorm(4), WideRMSNorm),
        (WidenNorm(8), nn.RMSNorm(4), WideRMSNorm),
    ],
)
def test_layers_of_torch_are_swapped(swap, module, kind):
    assert swap.fits(module)
    assert swap.class_for(module) is kind
    assert kind in CLASSES


@pytest.mark.parametrize(
    ("swap", "module"),
    [
        (SizeByTensors(), nn.Linear(4, 4)),
        (SizeByTensors(), nn.MultiheadAttention(4, 2, add_zero_attn=True)),
        (WidenNorm(4), Mine(4)),
        (WidenNorm(4), nn.GroupNorm(2, 4)),
        (WidenNorm(3), nn.LayerNorm(4)),
        (WidenNorm(4), nn.LayerNorm(4, elementwise_affine=False)),
        (WidenNorm(4), nn.LayerNorm((4, 4))),
    ],
)
def test_others_are_not(swap, module):
    assert not swap.fits(module)


def test_a_norm_of_full_size_has_the_full_width():
    assert WidenNorm(4).fits_full_size(nn.LayerNorm(4))
    assert not WidenNorm(8).fits_full_size(nn.LayerNorm(4))
    assert SizeByTensors().fits_full_size(nn.MultiheadAttention(4, 2))


@pytest.mark.parametrize("swap", [SizeByTensors(), EncodeByTensors(), WidenNorm(8)])
def test_a_swap_is_data(swap):
    assert swap_from_json(json.loads(json.dumps(swap.to_json()))) == swap
    assert SWAPS[swap.kind] is type(swap)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"kind": "other"},
        {"kind": ["widen_norm"]},
        {"kind": "widen_norm"},
        {"kind": "widen_norm", "full_width": 8, "more": 1},
        {"kind": "size_by_tensors", "full_width": 8},
        *({"kind": "widen_norm", "full_width": width} for width in (0, -1, 2.0, True, "8", None)),
    ],
    ids=str,
)
def test_what_is_no_swap_is_refused(data):
    with pytest.raises(ValueError, match=r"Expected (a swap|`full_width`)"):
        swap_from_json(data)


def test_an_attention_keeps_its_parameters_from_a_fused_kernel():
    assert SizeByTensors().attributes == {"_qkv_same_embed_dim": False}
    assert WidenNorm(8).attributes == {"full_width": 8}
