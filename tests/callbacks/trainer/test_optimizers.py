from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_prune.callbacks.trainer.optimizers import StepHooks, grad_scale, parameters_of

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


def test_hooks_run_after_every_step_until_they_are_detached() -> None:
    optimizers = [torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1) for n in range(2)]
    stepped: list[torch.optim.Optimizer] = []
    hooks = StepHooks()
    hooks.attach(optimizers, stepped.append)
    for optimizer in (*optimizers, optimizers[0]):
        optimizer.step()
    assert stepped == [*optimizers, optimizers[0]]
    hooks.detach()
    optimizers[0].step()
    assert len(stepped) == 3


def test_the_parameters_of_all_groups() -> None:
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    groups = [{"params": one.parameters()}, {"params": two.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    assert [id(p) for p in parameters_of(optimizer)] == [
        id(p) for p in (*one.parameters(), *two.parameters())
    ]
