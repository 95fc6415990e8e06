"""The binding: a pruner of a module, made as soon as its groups can be found.

Channels are found by a forward pass, for which there may be no inputs before the first batch.
Where layers are unfrozen during the training, the groups that they write are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L

from lightning_prune.callbacks.trainer.example_inputs import (
    TrainingExamples,
    examples_in_training,
    find_example_inputs,
)
from lightning_prune.callbacks.trainer.full_size import full_size
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.remaining import Remaining
from lightning_prune.coupling.unused import warn_unused
from lightning_prune.errors import TargetError
from lightning_prune.modules.gathering import has_shards
from lightning_prune.pruning import BasePruner, Recipe, find_prunable


class Binding:
    """The pruner of a module, once there is one.

    Args:
        recipe: what to prune.
        example_inputs: what the user passed, or None.

    Attributes:
        pruner: None until the groups are known.
        obstacle: why there cannot be a pruner while some layers are frozen, or None.
        trainable: how many parameters were trainable when the groups were chosen.
    """

    def __init__(self, recipe: Recipe, example_inputs: Any) -> None:
        self._recipe = recipe
        self._example_inputs = example_inputs
        self.forget()

    def forget(self) -> None:
        """Forget the module: another one is to be pruned."""
        self.pruner: BasePruner | None = None
        self.obstacle: TargetError | None = None
        self.trainable = 0

    def fits(self, pl_module: L.LightningModule) -> bool:
        """Return whether there is no pruner of another module."""
        return self.pruner is None or self.pruner.masks.bind(pl_module)

    def bind(self, pl_module: L.LightningModule, batch: Any, *, widen: bool) -> None:
        """Make the pruner, or one with more groups if layers were unfrozen since.

        Args:
            pl_module: the module to prune.
            batch: a batch of the training data, None if there was none yet.
            widen: whether groups may still be added.

        Raises:
            TargetError: if there is nothing to prune, or not as much as was asked for, although no
                layer is frozen.
        """
        before = self.pruner
        if before is not None and not widen:
            return
        trainable = _count_trainable(pl_module)
        if trainable <= self.trainable and (before is not None or self.obstacle is not None):
            return
        try:
            narrowed = before is not None and bool(before.masks.remaining)
            pruner = self._make(pl_module, batch, narrowed=narrowed)
        except TargetError as error:
            if trainable == sum(1 for parameter in pl_module.parameters()):
                raise
            self.obstacle, self.trainable = error, trainable
            return
        if pruner is not None:
            if before is not None:
                pruner.adopt(before)
            self.pruner, self.obstacle, self.trainable = pruner, None, trainable

    def restore(self, pl_module: L.LightningModule, batch: Any, state: Mapping[str, Any]) -> bool:
        """Make the pruner with the groups, masks and scores of a checkpoint.

        Args:
            pl_module: the module to prune.
            batch: a batch of the training data, None if there was none yet.
            state: what `state_dict` returned.

        Returns:
            Whether that is done; if not, it takes a batch.
        """
        held = state["pruner"]
        self.forget()
        if held is None:  # there were no groups, or nothing but frozen ones
            self.bind(pl_module, batch, widen=True)
            return self.pruner is not None or self.obstacle is not None
        self.pruner = self._make(pl_module, batch, held["groups"], narrowed=held["narrowed"])
        if self.pruner is None:
            return False
        self.pruner.load_state_dict(held)
        self.trainable = state["trainable"]
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        pruner = None if self.pruner is None else self.pruner.state_dict()
        return {"trainable": self.trainable, "pruner": pruner}

    def _make(
        self,
        pl_module: L.LightningModule,
        batch: Any,
        among: Sequence[str] | None = None,
        *,
        narrowed: bool = False,
    ) -> BasePruner | None:
        """Return a pruner, None if it takes a batch to find the groups.

        Those of a module that has become compact in this training are found in its full size.
        """
        found = TrainingExamples([])
        if self._recipe.needs_inputs:
            if batch is None and not self._needs_no_batch(pl_module):
                return None
            found = examples_in_training(self._example_inputs, pl_module, batch)
        full, remaining = pl_module, None
        if narrowed:
            full, remaining = full_size(pl_module), Remaining(plan_of(pl_module).axes, pl_module)
        prunable = find_prunable(self._recipe, full, found.calls, among, averaged=found.averaged)
        pruner = BasePruner(pl_module, self._recipe, prunable, remaining=remaining)
        if self.pruner is None and not self._recipe.allow_unused:
            warn_unused(pl_module, pruner.unused)
        return pruner

    def _needs_no_batch(self, pl_module: L.LightningModule) -> bool:
        """Tell whether the groups are known without one, because no step is recorded."""
        given = find_example_inputs(self._example_inputs, pl_module, None)
        return bool(given) and has_shards(pl_module)


def _count_trainable(pl_module: L.LightningModule) -> int:
    """Return how many parameters are trainable."""
    return sum(parameter.requires_grad for parameter in pl_module.parameters())
