import pytest
import torch

from lightning_prune.pruning.bits import pack, unpack


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
def test_what_is_packed_comes_back(n):
    flags = torch.rand(n) > 0.5
    packed = pack(flags)
    assert packed.dtype == torch.uint8
    assert packed.numel() == -(-n // 8)
    assert torch.equal(unpack(packed, n), flags)
