"""The rewinder: copies weights and learning rates at one position, and restores them on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L

from lightning_prune.arguments import check_kind
from lightning_prune.callbacks.trainer.position import current_position
from lightning_prune.pruning.rewinding import Memory, Rewinding
from lightning_prune.schedules import Schedule


class Rewinder:
    """Weights, learning rates and their schedulers, as they were at one position.

    Args:
        rewinding: when to remember and what to rewind; ``None`` = nothing.
        schedule: when masks are updated.

    Raises:
        ValueError: if something is removed before the weights are remembered.
        TypeError: if ``rewinding`` is something else.
    """

    def __init__(self, rewinding: Rewinding | None, schedule: Schedule) -> None:
        if rewinding is not None:
            check_kind("rewind", rewinding, Rewinding)
        self._rewinding = rewinding
        if not schedule.in_fractions:
            self.check(schedule)
        self._memory = Memory()
        self._schedulers: list[dict[str, Any]] = []

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to rewind."""
        return self._rewinding is None

    def check(self, schedule: Schedule) -> None:
        """Refuse a schedule that removes something before the weights are remembered.

        Raises:
            ValueError: if it does.
        """
        if self._rewinding is not None:
            self._rewinding.check(schedule)

    def remember(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy once the position is reached, before anything is removed there."""
        if self._rewinding is None or self._memory.weights is not None:
            return
        window = self._rewinding.window
        if current_position(trainer, window.period) >= window.end:
            self._memory.remember(pl_module, trainer.optimizers)
            self._schedulers = [_plain(c.scheduler) for c in trainer.lr_scheduler_configs]

    def rewind(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Return to what was remembered; the caller applies the masks."""
        if self._rewinding is None or self._memory.weights is None:
            return
        if self._rewinding.weights:
            self._memory.restore_weights(pl_module, trainer.optimizers)
        if self._rewinding.learning_rate:
            pairs = zip(trainer.lr_scheduler_configs, self._schedulers, strict=True)
            for config, state in pairs:
                config.scheduler.load_state_dict(dict(state))
            self._memory.restore_rates(trainer.optimizers)

    def forget(self) -> None:
        """Forget everything: another model is to be trained."""
        self._memory, self._schedulers = Memory(), []

    def state_dict(self) -> dict[str, Any] | None:
        """Return what was remembered; ``None`` without rewinding."""
        if self._rewinding is None:
            return None
        return {"schedulers": self._schedulers, **self._memory.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Take over what `state_dict` returned."""
        if state is not None:
            self._schedulers = state["schedulers"]
            self._memory.load_state_dict(state)


def _plain(scheduler: Any) -> dict[str, Any]:
    """Return a copy of a scheduler's state that later steps do not change."""
    return {
        key: list(value) if isinstance(value, list) else value
        for key, value in scheduler.state_dict().items()
    }
