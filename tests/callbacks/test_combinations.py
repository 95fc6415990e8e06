"""The contract of every schedule with every granularity and allocation.

What is asked, what is masked, what is zero and what is reported are one number, within one unit;
and what is released is not zero, and trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import pytest
import torch
from support.fits import make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_prune import allocations, granularities, schedules
from lightning_prune.allocations import Allocation, PerLayer
from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.criteria import Magnitude
from lightning_prune.granularities import NM, Block, Granularity
from lightning_prune.schedules import Iterative, OneShot, Schedule, Steps

SPECIAL: dict[str, Any] = {
    "OneShot": OneShot(epoch=1),
    "Iterative": Iterative(rounds=2, start_epoch=1, recovery_epochs=1),
    "Steps": Steps(epochs={1: 0.5, 2: 1.0}),
    "NM": NM(2, 4),
    "Block": Block(2, 2),
    "PerLayer": PerLayer({"*": 0.5}),
}


def leaves(family: Any, **bounds: int) -> list[Any]:
    """Return an object of every leaf of a family."""
    found = [getattr(family, name) for name in family.__all__]
    concrete = [leaf for leaf in found if not getattr(leaf, "__abstractmethods__", None)]
    return [SPECIAL.get(leaf.__name__) or leaf(**bounds) for leaf in concrete]


SCHEDULES = leaves(schedules, start_epoch=1, end_epoch=2)
GRANULARITIES = [
    granularity
    for granularity in leaves(granularities)
    if isinstance(granularity, Granularity) and not isinstance(granularity, granularities.Expert)
]
"""All but experts, of which the model has none: `tests/granularities/test_expert.py`."""
ALLOCATIONS = [a for a in leaves(allocations) if isinstance(a, Allocation)]
FAST = {"Linear", "DenseSparseDense", "Regrow"}


class Tiny(L.LightningModule):
    """A layer of a transformer: heads, two branches, channels."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.down(torch.nn.functional.silu(self.up(x)))
        return self.head(x.mean(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Released(L.Callback):
    """Notes what was ever masked, and the weights at the start of the last batch."""

    def __init__(self, pruning: Pruning) -> None:
        self.pruning = pruning
        self.masked: dict[str, Tensor] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        assert self.pruning.pruner is not None
        for name, mask in self.pruning.pruner.masks.items():
            self.masked[name] = self.masked.get(name, torch.tensor(False)) | ~mask
        self.start = {name: p.detach().clone() for name, p in pl_module.named_parameters()}


def refused(schedule: Schedule, granularity: Granularity, allocation: Allocation) -> bool:
    """Return whether the combination makes no sense."""
    if schedule.regrows and not granularity.regrows:
        return True
    return granularity.whole_groups and (allocation.within_groups or not schedule.monotone)


def combinations() -> Iterator[Any]:
    for schedule in SCHEDULES:
        for granularity in GRANULARITIES:
            for allocation in ALLOCATIONS:
                what = schedule, granularity, allocation
                name = "-".join(type(part).__name__ for part in what)
                fast = type(schedule).__name__ in FAST and type(allocation).__name__ == "Global"
                yield pytest.param(*what, id=name, marks=[] if fast else pytest.mark.slow)


@pytest.mark.parametrize(("schedule", "granularity", "allocation"), list(combinations()))
def test_asked_masked_zero_and_reported_are_one_number(
    schedule: Schedule, granularity: Granularity, allocation: Allocation
) -> None:
    if refused(schedule, granularity, allocation):
        with pytest.raises(ValueError, match="Expected"):
            Pruning(0.5, granularity=granularity, schedule=schedule, allocation=allocation)
        return
    what = {"granularity": granularity, "schedule": schedule, "allocation": allocation}
    pruning = Pruning(0.5, Magnitude(), of="units", **what)
    released, model = Released(pruning), Tiny()
    x = torch.randn(8, 4, 8, generator=torch.Generator().manual_seed(1))
    trainer = make_trainer(pruning, released, epochs=3)
    trainer.fit(model, DataLoader(TensorDataset(x, torch.arange(8) % 4), batch_size=8))

    pruner = pruning.pruner
    assert pruner is not None
    units = sum(group.units for group in pruner.masks.groups)
    asked = schedule.sparsity(2, final=0.5)
    removed = sum(int((~mask).sum()) for mask in pruner.masks.kept)
    assert abs(removed - asked * units) <= 1
    assert trainer.callback_metrics["pruning/sparsity"].item() == pytest.approx(removed / units)
    for name, weight in pruner.masks.weights.items():
        mask = pruner.masks.get(name, torch.ones_like(weight, dtype=torch.bool))
        assert torch.equal(weight != 0, mask), name
        free = released.masked.get(name, ~mask) & mask
        assert (weight != released.start[name])[free].all(), name
