import pytest
import torch
from support.proving import channels, proved
from torch import nn

N = None


def zeroed(layer):
    """Return a layer whose first output reads constants alone, and whose second reads nothing."""
    with torch.no_grad():
        layer.weight[0, 2:] = 0
        layer.weight[0, :2] = 2.0
        layer.weight[1] = 0
        layer.bias.fill_(1.0)
    return layer


LAYERS = {
    "linear": (zeroed(nn.Linear(4, 3)), [2.0, 1.0, N]),
    "convolution": (zeroed(nn.Conv2d(4, 3, 3)), [10.0, 1.0, N]),
    "with zeros around": (zeroed(nn.Conv2d(4, 3, 3, padding=1)), [N, 1.0, N]),
    "as wide as before": (zeroed(nn.Conv2d(4, 3, 3, padding="same")), [N, 1.0, N]),
    "with copies around": (
        zeroed(nn.Conv2d(4, 3, 3, padding=1, padding_mode="replicate")),
        [10.0, 1.0, N],
    ),
}


@pytest.mark.parametrize(("layer", "expected"), LAYERS.values(), ids=LAYERS)
def test_what_reads_nothing_that_varies_is_constant(layer, expected):
    shape = (2, 5, 3) if isinstance(layer, nn.Linear) else (2, 3, 6, 6)
    found = proved(lambda m, h: m.layer(h), *shape, layer=layer)
    assert channels(found, -1 if len(shape) == 3 else 1) == pytest.approx(expected)


def test_places_of_a_kernel_that_meet_nothing_here_count():
    layer = nn.Conv2d(4, 3, 3, padding=1)
    with torch.no_grad():
        layer.weight.fill_(0.0)
        layer.weight[0, 0, 0, 0] = 1.0
        layer.weight[1, 1, 1, 1] = 1.0
    found = proved(lambda m, h: m.layer(h.mean((2, 3), keepdim=True)), 2, 3, 6, 6, layer=layer)
    assert channels(found, 1)[0] is None
    assert channels(found, 1)[1:] == [float(b) for b in layer.bias.detach()[1:]]


def test_a_transposed_convolution_keeps_zeros_alone():
    layer = nn.ConvTranspose2d(4, 2, 3, stride=2, bias=False)
    with torch.no_grad():
        layer.weight[2:] = 0
        layer.weight[0, 1] = 0
    found = proved(lambda m, h: m.layer(h), 2, 3, 4, 4, layer=layer)
    assert channels(found, 1) == [None, 0.0]


class Mix(nn.Module):
    """A parameter of its own sizes."""

    def __init__(self, *sizes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(sizes).double())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, h: m.mix.weight @ h, 2),
        (lambda m, h: torch.ones(5, 5).to(h) @ h, 1),
        (lambda m, h: m.mix.weight[:1].expand(5, -1) @ h, 1),
        (lambda m, h: m.mix.weight[:1, :1].expand(5, 5) @ h, 1),
        (lambda m, h: h.softmax(-1) @ h.new_ones(4, 4), 0),
    ],
    ids=["of a weight", "of ones", "of a part of a weight", "of one number", "of what varies"],
)
def test_how_many_numbers_a_product_adds_must_not_follow_sizes(function, expected):
    found = proved(function, 2, 5, 3, mix=Mix(5, 5))
    kept = (~found.isnan()).all(1).all(0)
    assert int(kept.sum()) == expected
