"""Schedules in fractions of the training, in a training."""

from __future__ import annotations

from typing import Any

import pytest
from support.fits import Net, data, fit, make_trainer

from lightning_prune.callbacks.pruning.callback import Pruning
from lightning_prune.granularities import Weight
from lightning_prune.pruning.rewinding import Rewinding
from lightning_prune.schedules import Cubic, OneShot


def make(schedule: Any, **options: Any) -> Pruning:
    return Pruning(0.5, granularity=Weight(), schedule=schedule, **options)


def test_fractions_of_the_training_become_steps() -> None:
    pruning = make(Cubic(start=0.25, end=0.75))
    fit(Net(), pruning, epochs=4)
    assert pruning.schedule == Cubic(start_step=4, end_step=12, every=1)
    assert pruning.progress.done == 12
    assert pruning._run.sparsity == pytest.approx(0.5, abs=0.01)


def test_another_fit_has_steps_of_its_own() -> None:
    pruning = make(Cubic(start=0.25, end=0.75))
    fit(Net(), pruning, epochs=4)
    fit(Net(), pruning, epochs=8)
    assert pruning.schedule == Cubic(start_step=8, end_step=24, every=2)


def test_they_are_fractions_of_the_optimizer_steps() -> None:
    pruning = make(OneShot(at=0.5))
    fit(Net(), pruning, epochs=3, accumulate_grad_batches=2)
    assert pruning.schedule == OneShot(step=3)
    fit(Net(), pruning, epochs=-1, max_steps=10)
    assert pruning.schedule == OneShot(step=5)


def test_in_a_trial_fractions_are_no_obstacle() -> None:
    pruning = make(Cubic(start=0.25, end=0.75))
    make_trainer(pruning, fast_dev_run=True).fit(Net(), data())
    assert pruning.report is None


@pytest.mark.parametrize(
    ("options", "trainer", "message"),
    [
        pytest.param({"schedule": OneShot(at=0.0)}, {}, "no gradients have been seen", id="start"),
        pytest.param(
            {"schedule": OneShot(at=0.9)},
            {"epochs": 1},
            r"after 4 optimizer steps, but got OneShot\(at=0.9\), .* due at step 4",
            id="last step",
        ),
        pytest.param(
            {"schedule": OneShot(at=0.2), "rewind": Rewinding(step=5)},
            {"epochs": 2},
            r"to start at step 5 or later.*got OneShot\(step=2\)",
            id="rewinding",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    options: dict[str, Any], trainer: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(Net(), make(**options), **trainer)
