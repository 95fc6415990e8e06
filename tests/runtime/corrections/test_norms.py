"""Norms called as functions go on normalising over the width that there was."""

import pytest
import torch
import torch.nn.functional as F

from lightning_prune.runtime.corrections import Pin, WidenLayerNorm, WidenRMSNorm

X, WEIGHT, BIAS = torch.randn(3, 4, 5), torch.randn(5), torch.randn(5)
WIDE = F.pad(X, (0, 3))


def test_layer_norm():
    expected = F.layer_norm(WIDE, [8], None, None, 1e-3)[..., :5] * WEIGHT + BIAS
    found = WidenLayerNorm(8)(F.layer_norm, X, [5], WEIGHT, BIAS, 1e-3)
    torch.testing.assert_close(found, expected)
    by_name = WidenLayerNorm(8)(F.layer_norm, X, (5,), weight=WEIGHT, bias=BIAS, eps=1e-3)
    assert torch.equal(by_name, found)


def test_layer_norm_takes_what_torch_takes_besides():
    found = WidenLayerNorm(8)(torch.layer_norm, X, [5], WEIGHT, None, 1e-5, False)
    expected = torch.layer_norm(WIDE, [8], None, None)[..., :5] * WEIGHT
    torch.testing.assert_close(found, expected)


def test_rms_norm():
    expected = F.rms_norm(WIDE, [8], None, 1e-3)[..., :5] * WEIGHT
    torch.testing.assert_close(WidenRMSNorm(8)(F.rms_norm, X, [5], WEIGHT, 1e-3), expected)
    torch.testing.assert_close(WidenRMSNorm(8)(F.rms_norm, X, [5]), F.rms_norm(WIDE, [8])[..., :5])


@pytest.mark.parametrize("kind", [WidenLayerNorm, WidenRMSNorm])
def test_of_two_widths_the_first_is_the_full_one(kind):
    assert kind(8).then(kind(5)) == kind(8)
    assert kind(8).then(Pin(2, 1)) is None


@pytest.mark.parametrize("kind", [WidenLayerNorm, WidenRMSNorm])
@pytest.mark.parametrize("width", [0, 2.0, "8", True], ids=str)
def test_widths_of_other_kinds_are_refused(kind, width):
    with pytest.raises(ValueError, match="Expected `full_width`"):
        kind(width)
