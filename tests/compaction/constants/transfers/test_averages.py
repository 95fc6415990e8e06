import pytest
import torch
import torch.nn.functional as F
from support.proving import channels, proved

N = None
KEPT = [0.5, 0.0, N, N]
ONLY_ZERO = [N, 0.0, N, N]
IMAGES = {
    "mean": (lambda m, h: h.mean((2, 3)), KEPT),
    "mean of everything": (lambda m, h: h + h.mean(), [N] * 4),
    "mean over channels": (lambda m, h: h + h.mean(1, keepdim=True), [N] * 4),
    "mean of what differs": (lambda m, h: torch.cat([h, h * 2], 2).mean(2), ONLY_ZERO),
    "largest": (lambda m, h: h.amax((2, 3)), KEPT),
    "largest, with its place": (lambda m, h: h.flatten(2).max(2).values, KEPT),
    "sum": (lambda m, h: h.sum((2, 3)), ONLY_ZERO),
    "adaptive pooling": (lambda m, h: F.adaptive_avg_pool2d(h, 1), KEPT),
    "pooling": (lambda m, h: F.max_pool2d(F.avg_pool2d(h, 2), 3, 1, 1), KEPT),
    "pooling with zeros around": (lambda m, h: F.avg_pool2d(h, 3, 1, 1), [N] * 4),
    "pooling past the border": (lambda m, h: F.avg_pool2d(h, 4, ceil_mode=True), [N] * 4),
    "pooling by another number": (lambda m, h: F.avg_pool2d(h, 2, divisor_override=3), [N] * 4),
    "interpolation": (lambda m, h: F.interpolate(h, scale_factor=2, mode="bilinear"), KEPT),
    "borders that repeat": (lambda m, h: F.pad(h, (1, 1, 2, 2), "replicate"), KEPT),
    "borders that mirror": (lambda m, h: F.pad(h, (1, 1, 2, 2), "reflect"), KEPT),
    "borders that go round": (lambda m, h: F.pad(h, (1, 1, 2, 2), "circular"), KEPT),
    "borders of zeros": (lambda m, h: F.pad(h, (1, 1, 2, 2)), ONLY_ZERO),
}


@pytest.mark.parametrize(("function", "expected"), IMAGES.values(), ids=IMAGES)
def test_what_is_proved(function, expected):
    assert channels(proved(function, 2, 3, 6, 6), 1) == expected
