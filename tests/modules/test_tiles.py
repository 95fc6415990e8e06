import pytest
import torch

from lightning_prune.modules.tiles import pieces_of, tiles_of

SHAPES = [torch.Size(s) for s in [(5, 3), (), (4,), (2, 7), (0, 3)]]


@pytest.mark.parametrize("most", [1, 4, 8, 1000])
def test_every_element_is_in_one_piece(most):
    tensors = [torch.zeros(shape) for shape in SHAPES]
    for tile in tiles_of(SHAPES, most):
        sizes = [piece.of(tensors).numel() for piece in tile]
        assert sum(sizes) <= most or len(tile) == 1
        for piece in tile:
            assert piece.of(tensors).shape == piece.shape
            piece.of(tensors).add_(1.0)
    assert all((t == 1).all() for t in tensors)


def test_pieces_of_flat_tensors():
    tensors = [torch.arange(15).view(5, 3), torch.arange(4)]
    flat = [t.flatten() for t in tensors]
    for tile in tiles_of([t.shape for t in tensors], 4):
        for piece in tile:
            assert torch.equal(piece.of_flat(flat), piece.of(tensors).flatten())


def test_small_tensors_are_a_piece_each():
    pieces = pieces_of([torch.zeros(5, 3), torch.zeros(2)])
    assert [(p.index, p.start, p.stop) for p in pieces] == [(0, 0, 5), (1, 0, 2)]
