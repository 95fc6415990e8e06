"""Peak memory counts what lives at once, and nothing that was there before."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_prune.measure.memory import peak_bytes

X = torch.zeros(100)


def chain() -> Tensor:
    y = X + 1
    y = y * 2  # two live here
    return y + 1


def tower() -> list[Tensor]:
    return [X + i for i in range(5)]


def test_what_is_freed_no_longer_counts() -> None:
    assert peak_bytes(chain, [X]) == 2 * 400


def test_what_is_kept_adds_up() -> None:
    assert peak_bytes(tower, [X]) == 5 * 400


def test_views_and_writes_in_place_cost_nothing() -> None:
    assert peak_bytes(lambda: X.view(10, 10).add_(0).t(), [X]) == 0


def test_several_devices_are_not_followed() -> None:
    assert peak_bytes(chain, [X, torch.zeros(1, device="meta")]) is None
