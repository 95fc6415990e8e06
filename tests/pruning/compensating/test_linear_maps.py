"""Every product is a sum of features: the oracle is the operation itself."""

import itertools

import pytest
import torch

from lightning_prune.pruning.compensating import linear_maps
from lightning_prune.pruning.compensating.linear_maps import Convolution, MatrixProduct

CASES = list(itertools.product((1, 2, 3), (False, True), (1, 2), [(1, 0, 1, 0), (2, 1, 1, 1)]))
CASES += [(2, transposed, 2, (3, 2, 2, 1)) for transposed in (False, True)]


@pytest.mark.parametrize("positions", [2, 10_000])
@pytest.mark.parametrize(("dims", "transposed", "groups", "sizes"), CASES)
def test_features_times_matrices_are_the_outputs_of_a_convolution(
    dims, transposed, groups, sizes, positions, monkeypatch
):
    torch.manual_seed(0)
    monkeypatch.setattr(linear_maps, "_POSITIONS", positions)
    stride, padding, dilation, more = sizes
    x = torch.randn(2, 4, *(7 + i for i in range(dims)), dtype=torch.float64)
    shape = (4, 6 // groups) if transposed else (6, 4 // groups)
    weight = torch.randn(*shape, *[3] * dims, dtype=torch.float64)
    more = more if transposed else 0
    args = (*([n] * dims for n in (stride, padding, dilation)), transposed, [more] * dims, groups)
    y = torch.ops.aten.convolution(x, weight, None, *args)
    found = Convolution.of(weight, args)
    matrices = found.matrices(weight)
    rows = found.features(x) @ matrices.transpose(1, 2)
    assert torch.allclose(rows, found.outputs(y))
    assert torch.equal(found.weight(matrices, weight), weight)
    everything = y.numel() // (y.shape[1])
    assert rows.shape[1] == everything if positions == 10_000 else rows.shape[1] < everything


def test_a_product_of_matrices_has_a_feature_for_every_column():
    x, weight = torch.randn(5, 4), torch.randn(4, 3)
    found = MatrixProduct()
    matrices = found.matrices(weight)
    rows = found.features(x) @ matrices.transpose(1, 2)
    assert torch.equal(rows, found.outputs(x @ weight))
    assert torch.equal(found.weight(matrices, weight), weight)
