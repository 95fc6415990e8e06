"""The n-th lowest of all is the one that sorting finds, whatever the values are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_prune.units import threshold
from lightning_prune.units.threshold import nth_lowest


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small tensors be large ones."""
    monkeypatch.setattr(threshold, "_FEW", 8)
    monkeypatch.setattr(threshold, "_SAMPLE", 16)


def half_infinite(size: int) -> Tensor:
    x = torch.randn(size)
    x[torch.rand(size) < 0.25] = torch.inf
    x[torch.rand(size) < 0.25] = -torch.inf
    return x


KINDS: dict[str, Callable[[int], Tensor]] = {
    "normal": torch.randn,
    "float64": lambda n: torch.randn(n, dtype=torch.float64),
    "bfloat16": lambda n: torch.randn(n).bfloat16(),
    "equal": torch.ones,
    "few values": lambda n: torch.randint(0, 3, (n,)).float(),
    "infinite": half_infinite,
    "sorted": lambda n: torch.arange(n).float(),
    "heavy tails": lambda n: torch.randn(n).exp() ** 4,
    "both zeros": lambda n: torch.zeros(n) * torch.randn(n).sign(),
}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_sorting_finds(kind: str) -> None:
    for sizes in ([1], [7, 0, 30], [300, 1, 99]):
        tensors = [KINDS[kind](size) for size in sizes]
        ordered = torch.cat(tensors).sort().values
        for n in range(1, sum(sizes) + 1):
            assert nth_lowest(tensors, n) == ordered[n - 1]


@pytest.mark.usefixtures("few")
def test_a_sample_that_misses_costs_a_pass_and_no_more() -> None:
    # Every value of the sample is 5; all others lie below or above.
    x = torch.full((1600,), 5.0)
    others = torch.ones(1600, dtype=torch.bool)
    others[:: -(-1600 // 16)] = False
    x[others] = torch.randn(int(others.sum())) * 100
    ordered = x.sort().values
    assert all(nth_lowest([x], n) == ordered[n - 1] for n in range(1, 1601, 7))


@pytest.mark.parametrize("n", [1, 70_000, 399_999, 400_000])
def test_many_values_of_several_shapes(n: int) -> None:
    tensors = [torch.randn(500, 600), torch.randn(100_000)]
    flat = torch.cat([t.flatten() for t in tensors])
    assert nth_lowest(tensors, n) == flat.sort().values[n - 1]
