from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from support.optimizers import Lookahead, Sam
from torch import nn

from lightning_prune.callbacks.trainer.optimizers import (
    StepHooks,
    find_optimizers,
    grad_scale,
    parameters_of,
)

SCALER = SimpleNamespace(_get_scale_async=lambda: torch.tensor(1024.0))


@pytest.mark.parametrize(
    ("scaler", "fused", "expected"),
    [
        pytest.param(None, True, None, id="full precision"),
        pytest.param(SCALER, False, None, id="unscaled by lightning"),
        pytest.param(SCALER, True, 1024.0, id="unscaled within the step"),
        pytest.param(SimpleNamespace(_get_scale_async=lambda: None), True, None, id="no step yet"),
    ],
)
def test_only_fused_optimizers_see_scaled_gradients(
    scaler: Any, fused: bool, expected: float | None
) -> None:
    trainer: Any = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1, fused=fused)
    assert grad_scale(trainer, optimizer) == expected


def test_the_scaler_of_torch_has_what_is_read() -> None:
    assert callable(torch.amp.GradScaler("cpu")._get_scale_async)


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)


class Noted:
    """Step hooks that note what they are called with."""

    def __init__(self) -> None:
        self.before: list[torch.optim.Optimizer] = []
        self.after: list[torch.optim.Optimizer] = []
        self.fresh: list[int] = []
        self.trainer: Any = SimpleNamespace(optimizers=[])
        self.hooks = StepHooks(lambda _, optimizer: self.before.append(optimizer), self._after)

    def _after(self, optimizer: torch.optim.Optimizer, fresh: set[int]) -> None:
        self.after.append(optimizer)
        self.fresh.append(len(fresh))


def test_hooks_run_around_every_step_until_they_are_detached() -> None:
    optimizers, noted = [sgd(), sgd()], Noted()
    for _ in range(2):  # once each, however often they are attached
        noted.hooks.attach(noted.trainer, optimizers)
    for optimizer in (*optimizers, optimizers[0]):
        optimizer.step()
    assert noted.before == noted.after == [*optimizers, optimizers[0]]
    assert noted.hooks.seen
    noted.hooks.detach()
    optimizers[0].step()
    assert len(noted.after) == 3
    assert not noted.hooks.seen


def test_a_step_that_was_announced_is_not_announced_again() -> None:
    optimizer, noted = sgd(), Noted()
    noted.hooks.attach(noted.trainer, [optimizer])
    noted.hooks.announce(noted.trainer, optimizer)
    optimizer.step()
    optimizer.step()
    assert (noted.before, noted.fresh) == ([optimizer] * 2, [2, 2])


def test_gradients_of_a_closure_are_not_final_when_the_step_begins() -> None:
    optimizer, noted = sgd(), Noted()
    noted.hooks.attach(noted.trainer, [optimizer])
    optimizer.step(lambda: noted.hooks.announce(noted.trainer, optimizer))
    optimizer.step(closure=lambda: None)
    assert (noted.before, noted.fresh) == ([optimizer], [2, 0])


def test_what_wraps_an_optimizer_uses_the_same_gradients() -> None:
    wrapper, noted = Sam(nn.Linear(1, 1).parameters()), Noted()
    for parameter in parameters_of(wrapper):
        parameter.grad = torch.ones_like(parameter)
    noted.hooks.attach(noted.trainer, [wrapper, wrapper.inner])
    wrapper.step(lambda: noted.hooks.announce(noted.trainer, wrapper))
    assert noted.after == [wrapper.inner, wrapper]
    assert noted.fresh == [2, 0]
    assert noted.hooks.stepped_on([wrapper]) == {id(p) for p in parameters_of(wrapper)}
    assert noted.hooks.stepped_on([wrapper]) == set()


def test_optimizers_without_hooks_are_left_out() -> None:
    lookahead, noted = Lookahead(sgd()), Noted()
    noted.hooks.attach(noted.trainer, [lookahead])
    lookahead.step()
    assert not noted.hooks.seen


def test_optimizers_are_found_in_modules_and_in_each_other() -> None:
    module: Any = L.LightningModule()
    module.part = nn.Linear(1, 1)
    listed, wrapped = sgd(), [Lookahead(sgd()) for _ in range(3)]
    module.part.own, module.several, module.named = wrapped[0], (wrapped[1],), {"a": wrapped[2]}
    trainer: Any = SimpleNamespace(optimizers=[listed])
    expected = [listed, *wrapped, *(w.base_optimizer for w in wrapped)]
    assert {id(o) for o in find_optimizers(trainer, module)} == {id(o) for o in expected}


def test_the_parameters_of_all_groups() -> None:
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    groups = [{"params": one.parameters()}, {"params": two.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    assert [id(p) for p in parameters_of(optimizer)] == [
        id(p) for p in (*one.parameters(), *two.parameters())
    ]
