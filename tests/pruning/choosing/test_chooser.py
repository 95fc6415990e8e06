"""A chooser keeps what its criterion scores highest, and leaves the masks as they are."""

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.errors import TargetError
from lightning_prune.pruning import Recipe, find_prunable
from lightning_prune.pruning.choosing.chooser import Chooser, choosers_of
from lightning_prune.pruning.masks import Masks
from lightning_prune.units.cost import cost_of

X = torch.randn(1, 2)


def net() -> nn.Sequential:
    """Two hidden layers: unit 1 of the first scores lowest and 2 highest, of the second 0 and 3."""
    model = nn.Sequential(
        *(nn.Linear(2, 4, bias=False), nn.ReLU()),
        *(nn.Linear(4, 4, bias=False), nn.ReLU()),
        nn.Linear(4, 1, bias=False),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model[0].weight[:, 0] = torch.tensor([20.0, 10, 40, 30])
        model[2].weight[:] = torch.diag(torch.tensor([5.0, 6, 7, 8]))
        model[4].weight.fill_(1)
    return model


def made(recipe: Recipe, model: nn.Module | None = None) -> tuple[list[Chooser], Masks]:
    model = model or net()
    prunable = find_prunable(recipe, model, X)
    masks = Masks(model, tuple(prunable.groups))
    cost = cost_of(recipe.of, masks.groups, masks.shapes, prunable.prices)
    return choosers_of(model, recipe, prunable, masks, cost), masks


def recipe(criterion: lp.Criterion | lp.Auto, **options: object) -> Recipe:
    sparsity = options.pop("sparsity", 0.5)
    return Recipe(sparsity, criterion, lp.Channel(), **{"of": "units", **options})  # type: ignore[arg-type]


def kept(chooser: Chooser, level: float, round_to: int = 1) -> list[list[int]]:
    return [units.nonzero().flatten().tolist() for units in chooser.keep_at(level, round_to)]


def test_the_same_share_of_each_group_or_of_all_together():
    (uniform,), _ = made(recipe(lp.Magnitude(), allocation=lp.Uniform()))
    assert kept(uniform, 0.5) == [[2, 3], [2, 3]]
    (together,), _ = made(recipe(lp.Magnitude(), allocation=lp.Global()))
    assert sum(map(len, kept(together, 0.25))) == 6


def test_choosing_changes_nothing_and_what_is_removed_stays_removed():
    model = net()
    (chooser,), masks = made(recipe(lp.Magnitude(), allocation=lp.Uniform()), model)
    first = chooser.keep_at(0.25)
    assert all(bool(units.all()) for units in masks.kept)
    masks.keep(first)
    with torch.no_grad():
        model[0].weight[1] = 100  # it was the lowest, and is masked
    assert 1 not in kept(chooser, 0.5)[0]


def test_multiples_are_kept():
    (chooser,), _ = made(recipe(lp.Magnitude(), allocation=lp.Uniform()))
    assert [len(units) for units in kept(chooser, 0.25, round_to=2)] in ([2, 4], [4, 2])


def test_more_than_there_is_is_refused_when_it_is_made():
    most = recipe(lp.Magnitude(), sparsity=0.9, allocation=lp.Uniform(max_sparsity=0.5))
    with pytest.raises(TargetError, match=r"at most 0\.5"):
        made(most)


def test_candidates_of_one_criterion_share_a_scorer():
    candidates = [
        lp.Candidate(lp.Magnitude(), lp.Global()),
        lp.Candidate(lp.Magnitude(), lp.Uniform()),
        lp.Candidate(lp.Random(), lp.Uniform()),
    ]
    (first, second, third), _ = made(recipe(lp.Auto(candidates)))
    assert first.scorer is second.scorer
    assert third.scorer is not first.scorer
