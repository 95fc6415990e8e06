"""Judges: averages over examples, with the same random numbers for every model."""

import pytest
import torch
from torch import nn

from lightning_prune.pruning.comparing.judge import HeldOut, Judge, average_loss


def test_the_loss_is_averaged_over_examples_not_over_batches():
    batches = [HeldOut(lambda model: torch.tensor(1.0), 3), HeldOut(lambda m: torch.tensor(5.0), 1)]
    assert average_loss(nn.Linear(1, 1), batches) == 2.0


def test_ranks_add_up_their_losses_and_their_examples():
    # Another rank has seen 6 examples of the loss 2.
    others = torch.tensor([12.0, 6.0], dtype=torch.float64)
    batches = [HeldOut(lambda model: torch.tensor(4.0), 2)]
    assert average_loss(nn.Linear(1, 1), batches, lambda mine: mine + others) == 2.5


def test_every_model_meets_the_same_random_numbers_and_leaves_none():
    judge, model = Judge(lambda model: float(torch.rand(()))), nn.Linear(1, 1)
    state = torch.get_rng_state()
    assert judge(model) == judge(model)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("needs_gradient", [True, False])
def test_no_gradients_are_kept(needs_gradient):
    model = nn.Linear(2, 1).requires_grad_(needs_gradient)
    seen = []
    Judge(lambda m: seen.append(m(torch.ones(1, 2)).requires_grad) or 0.0)(model)
    assert seen == [False]
