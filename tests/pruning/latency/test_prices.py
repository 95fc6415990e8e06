"""The time of a layer is shared among its elements; what was not seen is priced by its work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.pruning.latency import prices as prices_module
from lightning_prune.pruning.latency.prices import millisecond_prices

X = ExampleInputs((torch.zeros(2, 4),))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    times: dict[str, float] = {}
    monkeypatch.setattr(prices_module, "cached_times", lambda *_: times)
    return times


def test_elements_of_a_layer_cost_its_time_together(measured: dict[str, float]) -> None:
    measured |= {"0": 10.0, "1": 4.0}
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1, bias=False))
    prices = millisecond_prices(model, X, {}, X.tensors[0])
    assert prices == {"0.weight": 10 / 10, "0.bias": 10 / 10, "1.weight": 4 / 2}


def test_what_was_not_seen_is_priced_by_its_multiply_adds(measured: dict[str, float]) -> None:
    measured |= {"0": 8.0}
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 1))
    macs = {"0.weight": 2.0, "1.weight": 6.0}
    prices = millisecond_prices(model, X, macs, X.tensors[0])
    assert prices == {"0.weight": 1.0, "1.weight": 3.0, "1.bias": 0.0}


def test_conditions_tell_threads_shapes_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def remember(conditions: dict[str, Any], _: Any) -> dict[str, float]:
        seen.append(conditions)
        return {}

    monkeypatch.setattr(prices_module, "cached_times", remember)
    for width, batch in ((2, 2), (3, 2), (2, 5)):
        millisecond_prices(
            nn.Linear(4, width), ExampleInputs((torch.zeros(batch, 4),)), {}, X.tensors[0]
        )
    assert seen[0]["threads"] == torch.get_num_threads()
    assert torch.__version__ in seen[0]["versions"]
    assert seen[0] != seen[1]
    assert seen[0] != seen[2]
