import math
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor, nn

from lightning_prune.callbacks.pruning.checks import (
    check_length,
    check_masks_agree,
    check_schedule,
    resolve,
    warn_missed,
    warn_skipped,
    warn_waiting,
)
from lightning_prune.errors import PruningError, TargetError
from lightning_prune.schedules import Linear, OneShot


def trainer(**options: Any) -> Any:
    defaults = {"fast_dev_run": False, "max_epochs": 10, "max_steps": -1, "optimizers": [None]}
    defaults["lightning_module"] = SimpleNamespace(automatic_optimization=True)
    return SimpleNamespace(**{**defaults, "world_size": 1, **options})


class Net(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize("end", [1, 9])
def test_a_schedule_may_end_in_the_last_epoch(end: int) -> None:
    check_schedule(trainer(), OneShot(epoch=end))


@pytest.mark.parametrize("max_epochs", [None, -1])
def test_without_an_end_every_schedule_fits(max_epochs: int | None) -> None:
    check_schedule(trainer(max_epochs=max_epochs), OneShot(epoch=99))


@pytest.mark.parametrize(
    ("options", "schedule", "message"),
    [
        ({}, OneShot(epoch=10), "epoch 9 or earlier, as max_epochs is 10"),
        ({"max_steps": 50}, OneShot(step=50), "step 49 or earlier, as max_steps is 50"),
    ],
)
def test_schedules_that_do_not_fit(options: Any, schedule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_schedule(trainer(**options), schedule)


def training(steps: float, *, automatic: bool = True, **options: Any) -> Any:
    module = SimpleNamespace(automatic_optimization=automatic)
    return trainer(estimated_stepping_batches=steps, lightning_module=module, **options)


def test_fractions_are_of_the_optimizer_steps() -> None:
    assert resolve(training(40), OneShot(at=0.3)) == OneShot(step=12)
    assert resolve(training(math.inf), OneShot(epoch=3)) == OneShot(epoch=3)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (training(math.inf), "no end of the training"),
        (training(-1), "no end of the training"),
        (training(40, automatic=False), "manual optimization"),
    ],
)
def test_fractions_of_an_unknown_length_are_refused(trainer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        resolve(trainer, OneShot(at=0.3))
    assert "`limit_train_batches`" in str(refused.value)  # an iterable may have no length


def test_in_a_trial_every_fraction_fits() -> None:
    assert not resolve(training(1, fast_dev_run=True), OneShot(at=0.3)).in_fractions


def test_fractions_are_checked_once_they_are_steps() -> None:
    check_schedule(trainer(max_steps=5), OneShot(at=0.9))


def test_the_number_of_steps_is_an_end() -> None:
    with pytest.raises(ValueError, match="step 39 or earlier, as the number of optimizer steps"):
        check_length(trainer(estimated_stepping_batches=40), OneShot(step=40))
    check_length(trainer(estimated_stepping_batches=41), OneShot(step=40))


@pytest.mark.parametrize("expected", [float("inf"), -1])
def test_an_unknown_number_of_steps_is_no_end(expected: float) -> None:
    check_length(trainer(estimated_stepping_batches=expected), OneShot(step=40))


def test_several_optimizers_count_steps_on_their_own() -> None:
    check_length(trainer(estimated_stepping_batches=10, optimizers=[None, None]), OneShot(step=15))


def epochs(max_steps: int, **options: Any) -> Any:
    """A trainer of 5 batches an epoch, of which 2 make a step: 3 steps."""
    automatic = SimpleNamespace(automatic_optimization=True)
    defaults = {"num_training_batches": 5, "accumulate_grad_batches": 2, "callbacks": []}
    defaults |= {"max_epochs": -1, "lightning_module": automatic}
    return trainer(max_steps=max_steps, **{**defaults, **options})


@pytest.mark.parametrize(("max_steps", "last"), [(3, 0), (4, 1), (6, 1), (7, 2)])
def test_the_number_of_steps_is_an_end_of_epochs_too(max_steps: int, last: int) -> None:
    check_length(epochs(max_steps), OneShot(epoch=last))
    with pytest.raises(ValueError, match=f"epoch {last} or earlier, as the number of epochs in"):
        check_length(epochs(max_steps), OneShot(epoch=last + 1))


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": -1},
        {"max_steps": 3, "lightning_module": SimpleNamespace(automatic_optimization=False)},
        {"max_steps": 3, "callbacks": [GradientAccumulationScheduler({0: 1})]},
    ],
    ids=["endless", "manual optimization", "accumulation that changes"],
)
def test_an_unknown_number_of_epochs_is_no_end(options: Any) -> None:
    check_length(epochs(**options), OneShot(epoch=40))


def test_an_endless_epoch_is_the_only_one() -> None:
    endless = epochs(3, num_training_batches=float("inf"))
    check_length(endless, OneShot(epoch=0))
    with pytest.raises(ValueError, match="epoch 0 or earlier"):
        check_length(endless, OneShot(epoch=1))


def test_ranks_that_differ_are_refused() -> None:
    def reduce(tensor: Tensor, reduce_op: str) -> Tensor:
        return torch.maximum(tensor, torch.tensor([6, -6]))

    ranks = trainer(world_size=2, strategy=SimpleNamespace(reduce=reduce))
    with pytest.raises(PruningError, match="Expected the same masks on every rank"):
        check_masks_agree(ranks, Net(), 7)


def test_one_rank_agrees_with_itself() -> None:
    check_masks_agree(trainer(), Net(), 7)


SCHEDULE = Linear(start_step=0, end_step=9)


@pytest.mark.parametrize(
    ("stepped", "cause"), [(True, "check the loss for NaN"), (False, "no optimizer was seen")]
)
def test_an_update_that_waits_is_named_with_its_cause(stepped: bool, cause: str) -> None:
    match = rf"update of `p` at step 3, but got none since the last one\. The update waits; {cause}"
    with pytest.warns(UserWarning, match=match):
        warn_waiting("p", SCHEDULE, 3, stepped=stepped)


def test_an_update_may_be_skipped_unless_it_is_the_last() -> None:
    with pytest.warns(UserWarning, match="`p` skips its update at step 3: all frozen"):
        warn_skipped("p", SCHEDULE, 3, TargetError("all frozen"))
    with pytest.raises(TargetError, match="all frozen"):
        warn_skipped("p", SCHEDULE, 9, TargetError("all frozen"))


def test_a_missed_target_is_named() -> None:
    with pytest.warns(UserWarning, match=r"sparsity 0\.5 at step 9, but got 0\.2500"):
        warn_missed("p", SCHEDULE, 0.5, 0.25)
