"""The regularizer: shrinks the units that go next; the hooks of `Pruning` call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from lightning_prune.callbacks.place import Place
from lightning_prune.criteria import Criterion
from lightning_prune.pruning import Pruner
from lightning_prune.pruning.checks import check_kind
from lightning_prune.pruning.shrinkage import Shrinkage
from lightning_prune.regularizations import Regularization
from lightning_prune.schedules import Schedule


class Regularizer:
    """A regularization bound to a schedule.

    Args:
        regularization: by what units shrink; ``None`` = nothing does.
        criterion: gives the scores.
        schedule: when masks are updated.
        final: the final sparsity.

    Raises:
        ValueError: if units cannot be chosen between two updates by such a criterion.
        TypeError: if ``regularization`` is something else.
    """

    def __init__(
        self,
        regularization: Regularization | None,
        criterion: Criterion,
        schedule: Schedule,
        final: float,
    ) -> None:
        self._shrinkage = None
        self._schedule, self._final = schedule, final
        if regularization is not None:
            check_kind("regularization", regularization, Regularization)
            if criterion.reads == "activations":
                raise ValueError(
                    "Expected a criterion that is equal on all ranks at every step for "
                    f"`regularization`, but got {criterion}. Choose one that reads weights or "
                    "gradients."
                )
            self._shrinkage = Shrinkage(regularization)

    def before_step(self, pruner: Pruner, place: Place) -> None:
        """Choose the units, if that is due."""
        if self._shrinkage is not None:
            self._shrinkage.aim(pruner, place.next_target(self._schedule, self._final))

    def after_step(self, pruner: Pruner, optimizer: Optimizer) -> None:
        """Shrink them, by the learning rate of the optimizer."""
        if self._shrinkage is not None:
            groups = optimizer.param_groups
            among = {id(p) for group in groups for p in group["params"]}
            self._shrinkage.apply(pruner, float(groups[0]["lr"]), among)

    def forget(self) -> None:
        """Start anew, after an update."""
        if self._shrinkage is not None:
            self._shrinkage.forget()

    def state_dict(self) -> dict[str, Any] | None:
        """Return the units and steps; ``None`` without regularization."""
        return None if self._shrinkage is None else self._shrinkage.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Take over what `state_dict` returned."""
        if self._shrinkage is not None and state is not None:
            self._shrinkage.load_state_dict(state)
