"""Several scorers of one model."""

import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.pruning.prune import gather_scores
from lightning_prune.pruning.recipe import Recipe


def test_gradients_of_a_batch_are_computed_once_for_all_criteria():
    calls = []

    def loss(model, batch):
        calls.append(torch.is_grad_enabled())
        return model(batch).square().mean()

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    batches = [torch.randn(8, 4), torch.randn(8, 4)]
    pairs = [lp.Candidate(lp.Taylor(), lp.Uniform()), lp.Candidate(lp.Taylor(), lp.Global())]
    auto = lp.Auto([lp.Gradient(), lp.Wanda(), *pairs, lp.Fisher(), lp.Magnitude()])
    together = gather_scores(Recipe(0.5, auto), model, batches[0], batches, loss)
    assert sorted(calls) == [False, False, True, True]
    assert len(together.scorers.state_dict()) == 5
    for chooser in together._choosers:
        alone = gather_scores(chooser.recipe, model, batches[0], batches, loss)
        for mine, theirs in zip(chooser.scorer.scores(), alone.scorer.scores(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_every_batch_counts_by_its_own_gradients():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    first, second = torch.randn(8, 4), torch.randn(8, 4)

    def scores(*batches):
        recipe = Recipe(0.5, lp.Taylor())
        pruner = gather_scores(recipe, model, first, batches, lambda m, x: m(x).square().mean())
        return pruner.scorer.scores()[0]

    expected = (scores(first) + scores(second)) / 2
    torch.testing.assert_close(scores(first, second), expected)
