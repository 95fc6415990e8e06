"""Trials: each candidate cuts the model for a moment; afterwards it is as it was."""

import copy

import pytest
import torch
from torch import nn

import lightning_prune as lp
from lightning_prune.pruning import BasePruner, Recipe, find_prunable
from lightning_prune.pruning.comparing.judge import Judge
from lightning_prune.pruning.comparing.trials import try_all, unchanged
from lightning_prune.pruning.compensating.mending import Calibration

X = torch.ones(1, 4)


def pruner_of(model: nn.Module) -> BasePruner:
    recipe = Recipe(0.5, lp.Magnitude(), lp.Channel(), lp.Uniform(), "units")
    return BasePruner(model, recipe, find_prunable(recipe, model, X))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()


def test_parameters_buffers_and_masks_come_back_also_after_an_error():
    model = net()
    pruner = pruner_of(model)
    before = copy.deepcopy(model.state_dict())

    def fail() -> None:
        with unchanged(model, pruner.masks):
            pruner.update(0.5)
            model[1].running_mean.add_(1)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert pruner.masks.removed == [0]


def zeros(model: nn.Module) -> float:
    return float(sum((p == 0).sum() for p in model.parameters()))


@pytest.mark.parametrize(("seconds", "tried"), [(None, 2), (1e-9, 1)])
def test_each_is_measured_on_the_cut_model_as_long_as_there_is_time(seconds, tried):
    model = net()
    pruner = pruner_of(model)
    calibration = Calibration(list, judge=Judge(zeros, "zeros", higher_is_better=True))
    table = try_all(
        model,
        pruner.masks,
        pruner._choosers * 2,
        lambda chooser: pruner.masks.keep(chooser.keep_at(0.5, 1)),
        calibration,
        seconds,
    )
    biases = zeros(model)  # of the norm
    assert table.dense == biases
    # Of four units: four weights and a bias that write each, a scale of the norm, two readers.
    assert [one.value for one in table.tried] == [4 * 8 + biases] * tried
    assert len(table.untried) == 2 - tried
    assert zeros(model) == biases


def test_without_held_out_data_nothing_is_tried():
    model = net()
    pruner = pruner_of(model)
    with pytest.raises(ValueError, match="no data are held out"):
        try_all(model, pruner.masks, pruner._choosers, lambda chooser: None, None, None)
