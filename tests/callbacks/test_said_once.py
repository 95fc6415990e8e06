"""Several callbacks that come upon the same thing say it once."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from support.fits import Net, fit
from torch import Tensor, nn

import lightning_prune as lp


class Spare(Net):
    """Has a part that no step runs."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(5, 7)


class Manual(Spare):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.optimizers().zero_grad()
        self.manual_backward(loss)
        self.optimizers().step()
        return loss


class Headless(Spare):
    """Trains the body alone."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.body.parameters(), lr=0.1)


class Diverged(Spare):
    def __init__(self) -> None:
        super().__init__()
        self.bad_steps = tuple(range(100))


MODELS = {"spare": Spare, "manual": Manual, "headless": Headless, "diverged": Diverged}
SAID = {  # and how often: once of the model, or once of either pruning
    "spare": ("do not run spare", 1),
    "manual": ("optimizes manually", 1),
    "headless": ("in an optimizer", 2),
    "diverged": ("The update waits", 2),
}


@pytest.mark.parametrize("case", MODELS)
def test_no_message_comes_twice(case: str, caplog: pytest.LogCaptureFixture) -> None:
    callbacks = [
        lp.Pruning(0.3, schedule=lp.Linear(start_epoch=0, end_epoch=2)),
        lp.Pruning(
            0.5, granularity=lp.Weight(), schedule=lp.Linear(start_epoch=1, end_epoch=3), name="two"
        ),
        lp.Compaction(latency=False),
        lp.SparsityMonitor(),
        lp.LatencyMonitor(max_seconds=0.01, min_runs=1),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(MODELS[case](), *callbacks)
    said = [str(one.message) for one in caught if "lightning_prune" in str(one.filename)]
    said += [one.getMessage() for one in caplog.records if one.name.startswith("lightning_prune")]
    assert [text for text, count in Counter(said).items() if count > 1] == []
    what, count = SAID[case]
    assert sum(what in text for text in said) == count


def test_pruning_and_compacting_by_hand_say_it_once(caplog: pytest.LogCaptureFixture) -> None:
    model, x = Spare(), torch.randn(2, 2, 6, 6)
    lp.prune(model, x, sparsity=0.3, criterion=lp.Magnitude())
    lp.compact(model, x, latency=False)
    assert caplog.text.count("do not run spare") == 1
