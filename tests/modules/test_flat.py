import torch

from lightning_prune.modules.flat import split_like


def test_pieces_have_the_shapes_and_the_memory_of_the_buffer():
    flat = torch.arange(7.0)
    one, two = split_like(flat, [torch.Size([2, 2]), torch.Size([3])])
    assert one.tolist() == [[0, 1], [2, 3]]
    assert two.tolist() == [4, 5, 6]
    one.zero_()
    assert flat.tolist() == [0, 0, 0, 0, 4, 5, 6]
