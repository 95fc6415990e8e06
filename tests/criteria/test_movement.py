import torch

from lightning_prune.criteria import Movement


def test_what_moves_away_from_zero_scores_high():
    out = [torch.empty(4)]
    weights, gradients = torch.tensor([2.0, 2.0, -2.0, -2.0]), torch.tensor([0.5, -0.5, 0.5, -0.5])
    Movement().write(out, [weights], [gradients])
    assert out[0].tolist() == [-1.0, 1.0, 1.0, -1.0]
    after = (weights - 0.1 * gradients).abs()  # a step of gradient descent
    assert torch.equal(after > 2.0, out[0] > 0)
