"""Lightning's own callbacks that pruning concerns: averages of weights, and early stopping.

They are found by their type, in any order of callbacks.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from lightning_prune.callbacks.trainer.namespaces import classes


def averaged_modules(trainer: L.Trainer) -> list[nn.Module]:
    """Return the copies of the module in which callbacks average its weights.

    Masked once with the module, they stay masked: an average of zeros is zero.

    Args:
        trainer: the trainer.

    Returns:
        The copies that `WeightAveraging` and `StochasticWeightAveraging` keep.
    """
    averages = [getattr(callback, "_average_model", None) for callback in _callbacks(trainer)]
    # `WeightAveraging` wraps its copy once more, in torch's `AveragedModel`.
    return [
        average.module if isinstance(average, AveragedModel) else average
        for average in averages
        if isinstance(average, nn.Module)
    ]


def forget_averages(trainer: L.Trainer) -> None:
    """Drop the copies that callbacks keep, once the module has another size.

    Args:
        trainer: the trainer.
    """
    for callback in _callbacks(trainer):
        if isinstance(getattr(callback, "_average_model", None), nn.Module):
            callback._average_model = None


def restart_early_stopping(trainer: L.Trainer) -> None:
    """Let every `EarlyStopping` take its next result for the best one so far.

    Args:
        trainer: the trainer.
    """
    for callback in _callbacks(trainer):
        if isinstance(callback, classes("callbacks", "EarlyStopping")):
            callback.wait_count = 0
            worst = torch.inf if callback.mode == "min" else -torch.inf
            callback.best_score = torch.tensor(worst)


def _callbacks(trainer: L.Trainer) -> list[Any]:
    """Return the callbacks of a trainer."""
    return list(trainer.callbacks)  # type: ignore[attr-defined]  # lightning's connectors set it
