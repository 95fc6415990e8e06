import torch

from lightning_prune.allocations import Global


def test_scores_are_priorities():
    scores = [torch.tensor([1.0, 5.0]), torch.tensor([3.0])]
    assert [p.tolist() for p in Global().priorities(scores, [], {})] == [[1.0, 5.0], [3.0]]
