from __future__ import annotations

import copy
import functools
import inspect
import pickle
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from support.fits import Net

from lightning_prune.callbacks.distillation.step import DistilledStep
from lightning_prune.modules.twin import clone, twin


def loud(step: Any) -> Any:
    @functools.wraps(step)
    def louder(*args: Any, **kwargs: Any) -> Any:
        return step(*args, **kwargs)

    return louder


class Short(Net):
    """Its step takes a batch only; its own call counts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def training_step(self, batch: Any) -> Any:  # type: ignore[override]
        self.calls.append(batch)
        return batch


class Decorated(Short):
    training_step = loud(Short.training_step)  # type: ignore[assignment]


def doubled(plain: Any, args: Any, kwargs: Any) -> Any:
    return 2 * plain(*args, **kwargs)


def test_the_step_runs_within_what_is_given_until_it_is_stopped() -> None:
    model = Short()
    step = DistilledStep(model, doubled)
    assert model.training_step(3) == 6
    assert model.training_step(batch=4) == 8
    assert not [key for key in model.state_dict() if "step" in key]
    step.stop()
    assert model.training_step(3) == 3
    assert "training_step" not in vars(model)


@pytest.mark.parametrize("kind", [Short, Decorated])
def test_lightning_sees_the_arguments_of_the_plain_step(kind: Any) -> None:
    model = kind()
    before = inspect.signature(model.training_step)
    DistilledStep(model, doubled)
    assert inspect.signature(model.training_step) == before
    assert not is_param_in_hook_signature(model.training_step, "batch_idx", min_args=2)
    net = Net()
    DistilledStep(net, doubled)
    assert is_param_in_hook_signature(net.training_step, "batch_idx", min_args=2)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, twin, clone, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies_have_the_plain_step_of_their_own(copied: Any) -> None:
    model = Short()
    DistilledStep(model, doubled)
    other = copied(model)
    assert other.training_step(torch.ones(1)) == 1
    assert len(other.calls) == 1
    assert model.calls == []


def test_a_step_that_the_module_held_comes_back() -> None:
    model = Short()
    vars(model)["training_step"] = held = lambda batch: 10 * batch
    step = DistilledStep(model, doubled)
    assert model.training_step(3) == 60
    step.stop()
    assert model.training_step is held


def test_a_wrapper_around_it_stays_and_runs_the_plain_step_from_then_on() -> None:
    model = Short()
    step = DistilledStep(model, doubled)
    inner = model.training_step
    vars(model)["training_step"] = outer = lambda batch: inner(batch) + 1
    assert model.training_step(3) == 7
    step.stop()
    assert model.training_step is outer
    assert model.training_step(3) == 4
