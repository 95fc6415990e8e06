import pytest
import torch

from lightning_prune.criteria.evidence.line_sums import LineSums
from lightning_prune.modules.tiles import tiles_of

SHAPES = [torch.Size(s) for s in [(5, 3, 2), (4,), (2, 7), (), (0, 3), (6, 2)]]
DIMS = [[2, 0, 1], [0], [1], [0], [0, 1], []]


@pytest.mark.parametrize("most", [1, 8, 1000])
def test_sums_of_all_other_dimensions(most):
    sums = LineSums(SHAPES, DIMS, torch.device("cpu"))
    for seed in range(2):  # what was added before counts no more
        torch.manual_seed(seed)
        tensors = [torch.randint(0, 9, shape).float() for shape in SHAPES]
        for piece in (piece for tile in tiles_of(SHAPES, most) for piece in tile):
            sums.add(piece, piece.of(tensors))
        expected = []
        for tensor, dims in zip(tensors, DIMS, strict=True):
            whole = tensor if tensor.dim() else tensor.view(1)
            expected += [
                whole.transpose(0, dim).flatten(1).sum(1) if whole.dim() > 1 else whole
                for dim in dims
            ]
        assert torch.equal(sums.flat, torch.cat(expected))
        assert [list(lines) for lines in sums.lines] == DIMS
