"""Strategies: those that were tried are accepted, all others are refused with a cure."""

from __future__ import annotations

import lightning as L

from lightning_prune.callbacks.trainer.namespaces import classes

_SHARDING = classes("strategies", "ModelParallelStrategy")
_TRIED = {
    *classes("strategies", "SingleDeviceStrategy"),
    *classes("strategies", "DDPStrategy"),
    *_SHARDING,
}


def shards_weights(trainer: L.Trainer) -> bool:
    """Return whether no rank holds the whole module."""
    return isinstance(trainer.strategy, _SHARDING)


def check_strategy(
    trainer: L.Trainer, callback: str, *, untried: bool = False, sharded: str | None = None
) -> None:
    """Refuse a strategy with which the callback was not tried.

    Args:
        trainer: the trainer.
        callback: name of the callback's class.
        untried: let other strategies than those tried through.
        sharded: what to do instead under a strategy that shards the module, a sentence; ``None``
            if the callback was tried with it.

    Raises:
        ValueError: if the strategy is not let through.
    """
    strategy = trainer.strategy
    if sharded is not None and shards_weights(trainer):
        raise ValueError(
            f"Expected `strategy` to keep the whole module on every device for {callback}, but got "
            f"{type(strategy).__name__}. {sharded}"
        )
    # Not `isinstance`: DeepSpeed's strategy, for example, is derived from DDP's.
    tried = type(strategy) in _TRIED
    # A process that is spawned or forked hands back weights only, neither state nor shapes.
    tried = tried and getattr(strategy, "_start_method", "popen") in {None, "popen"}
    if not tried and not untried:
        method = getattr(strategy, "_start_method", None)
        started = f" with processes started by {method}" if method else ""
        raise ValueError(
            f"Expected `strategy` to be one that {callback} was tried with (a single device, DDP, "
            f"or ModelParallelStrategy with fully_shard), but got {type(strategy).__name__}"
            f"{started}. Choose one of those, or pass `untried_strategy=True` and check the masks."
        )
