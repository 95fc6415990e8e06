"""Monitored metrics: the values by which callbacks decide, the same on every rank."""

from __future__ import annotations

import lightning as L


def monitored(trainer: L.Trainer, monitor: str) -> float:
    """Return the value of a metric that something is decided by.

    Ranks must decide alike, also about a metric that was not averaged over them: it is here.

    Args:
        trainer: the trainer; every rank has to ask.
        monitor: the name of the metric.

    Returns:
        The mean over the ranks of its last values.

    Raises:
        ValueError: if nothing of that name was logged.
    """
    metrics = trainer.callback_metrics
    if monitor not in metrics:
        raise ValueError(
            f"Expected `monitor` to be a metric that the validation logs, but got {monitor!r}. "
            f"There are: {', '.join(metrics) or 'none'}. Log it in `validation_step`."
        )
    value = metrics[monitor].detach().clone().float()
    return float(trainer.strategy.reduce(value, reduce_op="mean"))
