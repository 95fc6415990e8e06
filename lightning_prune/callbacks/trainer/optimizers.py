"""Optimizers: their parameters, the scale of the gradients, and hooks after their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


class StepHooks:
    """A function that runs after every step of some optimizers, until it is detached."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def attach(
        self, optimizers: Iterable[Optimizer], after_step: Callable[[Optimizer], None]
    ) -> None:
        """Call ``after_step`` with the optimizer after each of its steps.

        Args:
            optimizers: the optimizers.
            after_step: the function.
        """

        def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            after_step(optimizer)

        self._handles += [o.register_step_post_hook(hook) for o in optimizers]

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def grad_scale(trainer: L.Trainer, optimizer: Optimizer) -> Tensor | None:
    """Return what divides the gradients that ``on_before_optimizer_step`` shows.

    Under mixed precision, fused optimizers unscale within their step; to all others, Lightning
    hands unscaled gradients.

    Args:
        trainer: the trainer.
        optimizer: the optimizer that is about to step.

    Returns:
        The scale, or ``None`` where the gradients are unscaled.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return None
    # The public `get_scale` would wait for the device.
    scale = scaler._get_scale_async()
    return scale if isinstance(scale, Tensor) else None


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that an optimizer steps on."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
