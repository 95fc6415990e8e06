import pytest
import torch
from support.proving import channels, proved
from torch import nn

NORMS = {
    "batch": nn.BatchNorm2d(4),
    "group": nn.GroupNorm(2, 4),
    "instance": nn.InstanceNorm2d(4, affine=True),
    "layer": nn.LayerNorm(4),
    "rms": nn.RMSNorm(4),
}


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("training", [False, True])
def test_only_a_scale_of_zero_leaves_a_constant(kind, training):
    norm = NORMS[kind]
    with torch.no_grad():
        norm.weight[[0, 2]] = 0
        if kind != "rms":
            norm.bias.copy_(torch.arange(1.0, 5.0))
    shape = (2, 5, 3) if kind in ("layer", "rms") else (2, 3, 5, 5)
    found = proved(lambda m, h: m.norm(h), *shape, training=training, norm=norm)
    expected = [0.0, None, 0.0, None] if kind == "rms" else [1.0, None, 3.0, None]
    assert channels(found, 1 if len(shape) == 4 else -1) == expected


def test_without_a_scale_nothing_is_constant():
    norm = nn.BatchNorm2d(4, affine=False)
    assert channels(proved(lambda m, h: m.norm(h), 2, 3, 5, 5, norm=norm), 1) == [None] * 4
