from typing import Any

import pytest
import torch
from support.fits import Net, fit

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Criterion, Fisher, Gradient, Magnitude
from lightning_prune.granularities import Weight
from lightning_prune.schedules import Linear, OneShot


class Headless(Net):
    """Trains the body alone; the head is in no optimizer, but not frozen either."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.body.parameters(), lr=0.1)


@pytest.mark.parametrize("criterion", [Gradient(), Fisher()], ids=str)
def test_weights_that_no_optimizer_holds_are_named(criterion: Criterion) -> None:
    pruning = Pruning(0.2, criterion, granularity=Weight(), schedule=OneShot(epoch=1))
    with pytest.warns(UserWarning, match="but got none for head.weight: their"):
        fit(Headless(), pruning, epochs=2)


def test_weights_can_be_scored_without_an_optimizer() -> None:
    pruning = Pruning(0.2, Magnitude(), granularity=Weight(), schedule=OneShot(epoch=1))
    fit(Headless(), pruning, epochs=2)  # warnings are errors
    assert pruning.pruner is not None
    assert pruning.pruner.sparsity == pytest.approx(0.2, abs=1e-3)


def test_an_update_masks_the_momentum_as_well() -> None:
    model = Net("momentum")
    pruning = Pruning(
        0.5, Gradient(), granularity=Weight(), schedule=Linear(start_epoch=1, end_epoch=3)
    )
    trainer = fit(model, pruning)
    assert pruning.pruner is not None
    (optimizer,) = trainer.optimizers
    for name, mask in pruning.pruner.masks.items():
        momentum = optimizer.state[model.get_parameter(name)]["momentum_buffer"]
        assert not momentum[~mask].any()
        assert momentum[mask].any()
