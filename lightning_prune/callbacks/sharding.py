"""What to do under strategies that shard the module over ranks: refuse, with a cure."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

_SHARDING = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


def refuse_sharding(trainer: L.Trainer, cure: str) -> None:
    """Refuse a strategy under which no rank holds the whole module.

    Args:
        trainer: the trainer.
        cure: what to do instead, a sentence.

    Raises:
        ValueError: if the strategy shards the module.
    """
    if isinstance(trainer.strategy, _SHARDING):
        raise ValueError(
            "Expected `strategy` to keep the whole module on every device, but got "
            f"{type(trainer.strategy).__name__}. {cure}"
        )
