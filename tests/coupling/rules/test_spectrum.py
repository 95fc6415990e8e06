"""Transforms along positions leave channels alone."""

import pytest
import torch
from support.nets import Between


def filtered(x):
    spectrum = torch.fft.rfft2(x)
    return torch.fft.irfft2(spectrum * spectrum.abs().clamp(max=1), s=(6, 6))


CARRIED = {
    "filtered": filtered,
    "complex_transform": lambda x: torch.fft.fft(x, dim=2).abs(),
    "pairs": lambda x: torch.view_as_real(torch.fft.fft(x)).sum(-1),
    "from_pairs": lambda x: torch.view_as_complex(x.unflatten(3, (3, 2)).contiguous()).abs(),
}


@pytest.mark.parametrize("op", CARRIED.values(), ids=CARRIED)
def test_channels_are_carried(op):
    Between(op, 8).check()


def test_a_transform_along_channels_freezes():
    Between(
        lambda x: torch.fft.fft(x, dim=1).abs(), reason="transformed along a labelled dimension"
    ).check()
