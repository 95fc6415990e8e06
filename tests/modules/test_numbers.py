"""A model without numbers, or with some that cannot be written to, is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

import lightning_prune as lp
from lightning_prune.modules.numbers import require_numbers

X = torch.randn(2, 5)
CHANGES: dict[str, Callable[[nn.Module], Any]] = {
    "prune": lambda model: lp.prune(model, X, sparsity=0.3, criterion=lp.Magnitude()),
    "plan": lambda model: lp.plan(model, X, sparsity=0.3),
    "compact": lambda model: lp.compact(model, X),
}


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("context", [FakeTensorMode, lambda: torch.device("meta")])
def test_a_model_without_numbers_is_refused(
    context: Callable[[], Any], change: Callable[[nn.Module], Any]
) -> None:
    with context():
        model = net()
    with pytest.raises(ValueError, match=r"hold numbers, but got 0\.weight, which has"):
        change(model)


@pytest.mark.parametrize("name", ["prune", "compact"])
def test_parameters_made_in_inference_mode_are_refused(name: str) -> None:
    with torch.inference_mode():
        model = net()
    with pytest.raises(ValueError, match=r"got 0\.weight, which was made in inference mode"):
        CHANGES[name](model)


def test_a_model_with_numbers_is_accepted() -> None:
    model = net()
    require_numbers(model)
    assert lp.compact(model, X, latency=False).params_before == 75


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("name", ["prune", "plan"])
@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, X)])
def test_a_scripted_model_is_pruned_before_it_is_scripted(
    make: Callable[[nn.Module], nn.Module], name: str
) -> None:
    with pytest.raises(TypeError, match="module in Python, but got"):
        CHANGES[name](make(net()))
