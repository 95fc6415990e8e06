"""What an optimizer is about to step on: its parameters, and the scale of their gradients."""

from __future__ import annotations

import lightning as L
from torch import Tensor
from torch.optim import Optimizer


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
