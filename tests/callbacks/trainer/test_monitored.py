"""A metric by which something is decided is the same on every rank."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_prune.callbacks.trainer.monitored import monitored


def trainer(**metrics: Tensor) -> Any:
    def reduce(value: Tensor, reduce_op: str) -> Tensor:
        assert reduce_op == "mean"
        return (value + 3.0) / 2  # the other rank has 3

    return SimpleNamespace(callback_metrics=metrics, strategy=SimpleNamespace(reduce=reduce))


def test_it_is_the_mean_over_the_ranks():
    metric = torch.tensor(1)
    assert monitored(trainer(loss=metric), "loss") == 2.0
    assert metric == 1


def test_what_was_not_logged_is_refused():
    with pytest.raises(ValueError, match=r"got 'acc'\. There are: loss\. Log it in"):
        monitored(trainer(loss=torch.tensor(1)), "acc")
    with pytest.raises(ValueError, match="There are: none"):
        monitored(trainer(), "acc")
