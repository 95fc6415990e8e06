"""Strategies that shard the module are refused before anything starts."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

import lightning_prune as lp

CALLBACKS = [lp.Pruning(0.5), lp.Compaction(), lp.LatencyMonitor()]


@pytest.mark.parametrize("callback", CALLBACKS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
def test_sharding_is_refused(callback, strategy):
    trainer = SimpleNamespace(strategy=strategy())
    with pytest.raises(ValueError, match=rf"whole module .* but got {strategy.__name__}\. \w+"):
        callback.setup(trainer, None, "fit")


def test_other_strategies_are_welcome():
    trainer = SimpleNamespace(strategy=SingleDeviceStrategy())
    assert lp.Compaction().setup(trainer, None, "fit") is None
