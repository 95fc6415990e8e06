"""Strategies that were not tried are refused before anything starts."""

from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)

import lightning_prune as lp
from lightning_prune.callbacks.trainer.strategies import check_strategy


class Module(L.LightningModule):
    pass


def on(strategy: Any) -> Any:
    return SimpleNamespace(strategy=strategy)


@pytest.mark.parametrize(
    "strategy",
    [SingleDeviceStrategy(), DDPStrategy(), ModelParallelStrategy()],
    ids=lambda s: type(s).__name__,
)
def test_strategies_that_were_tried_are_welcome(strategy: Any) -> None:
    assert check_strategy(on(strategy), "Pruning") is None


@pytest.mark.parametrize("callback", [lp.Pruning, lp.Compaction])
def test_others_are_refused_unless_the_user_insists(callback: Any) -> None:
    options: dict[str, Any] = {"sparsity": 0.5} if callback is lp.Pruning else {}
    trainer = SimpleNamespace(
        strategy=FSDPStrategy(), fast_dev_run=False, max_epochs=9, max_steps=-1
    )
    with pytest.raises(ValueError, match=rf"{callback.__name__} was tried with .* FSDPStrategy\."):
        callback(**options).setup(trainer, Module(), "fit")
    callback(**options, untried_strategy=True).setup(trainer, Module(), "fit")


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_that_hand_back_weights_only_are_refused(method: Any) -> None:
    with pytest.raises(ValueError, match=f"DDPStrategy with processes started by {method}"):
        check_strategy(on(DDPStrategy(start_method=method)), "Pruning")


def test_sharding_is_refused_where_it_was_not_tried() -> None:
    with pytest.raises(ValueError, match=r"for LatencyMonitor, but got ModelParallelStrategy\. R"):
        lp.LatencyMonitor().setup(on(ModelParallelStrategy()), Module(), "fit")
    with pytest.raises(ValueError, match=r"for AccuracyGuard, but got ModelParallelStrategy\. T"):
        lp.AccuracyGuard("acc").setup(on(ModelParallelStrategy()), Module(), "fit")


def test_monitors_only_look() -> None:
    with pytest.raises(ValueError, match="FSDPStrategy"):
        check_strategy(on(FSDPStrategy()), "Pruning")
    lp.LatencyMonitor().setup(on(FSDPStrategy()), Module(), "fit")  # is not refused


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "Expected `path` to be given"), ({"path": "x", "monitor": "a"}, "`monitor` to be None")],
)
def test_a_sharded_model_is_compacted_into_a_file(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lp.Compaction(**options).setup(on(ModelParallelStrategy()), Module(), "fit")
    lp.Compaction(path="x").setup(on(ModelParallelStrategy()), Module(), "validate")
