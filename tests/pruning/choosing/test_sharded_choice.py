"""Two ranks that exchange counts choose what one rank with all scores chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_prune.allocations import Uniform
from lightning_prune.criteria import Lamp, Random
from lightning_prune.errors import TargetError
from lightning_prune.granularities import NM, Weight
from lightning_prune.pruning.choosing import sharded_choice
from lightning_prune.pruning.choosing.choice import choose
from lightning_prune.pruning.choosing.sharded_choice import check_sharded
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.cost import cost_of
from lightning_prune.units.group import Axis, Group, Member


class Exchange:
    """What two threads, standing for ranks, tell each other."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=300)
        self.slots: list[Any] = [None, None]

    def all(self, tensor: Tensor, like: Any) -> Tensor:
        self.slots[like.rank] = tensor
        self.barrier.wait()
        both = torch.stack(list(self.slots))
        self.barrier.wait()
        return both


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    ranks = Exchange()
    tell: dict[str, Callable[..., Any]] = {
        "sum_over_ranks": lambda t, like: ranks.all(t, like).sum(0),
        "max_over_ranks": lambda t, like: ranks.all(t, like).amax(0),
        "gather_over_ranks": ranks.all,
        "rank_among": lambda like: like.rank,
    }
    for name, function in tell.items():
        monkeypatch.setattr(sharded_choice, name, function)
    return ranks


SIZES = (6, 1, 10)


def groups() -> list[Group]:
    return [Group(f"{i}", n, (Member(Axis(f"{i}", -1), "out", n),)) for i, n in enumerate(SIZES)]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.6, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_two_ranks_choose_as_one(seed: int, sparsity: float, exchange: Exchange) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few values, so that there are ties within and between ranks.
    scores = [torch.randint(0, 4, (n,), generator=generator).float() - 1 for n in SIZES]
    dead = [torch.rand(n, generator=generator) < 0.15 for n in SIZES]
    shapes = {f"{i}": torch.Size([n]) for i, n in enumerate(SIZES)}
    cost = cost_of("parameters", groups(), shapes, None)
    buried = [s.masked_fill(d, -torch.inf) for s, d in zip(scores, dead, strict=True)]
    expected = choose(buried, cost, sparsity, [1] * len(SIZES))
    results: list[list[Tensor]] = [[], []]

    def work(rank: int) -> None:
        def part(tensors: list[Tensor]) -> list[Tensor]:
            halves = [-(-t.numel() // 2) for t in tensors]
            return [t[:h] if rank == 0 else t[h:] for t, h in zip(tensors, halves, strict=True)]

        like: Any = SimpleNamespace(rank=rank, device="cpu")
        results[rank] = sharded_choice._choose_local(part(scores), part(dead), cost, sparsity, like)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first, second, whole in zip(*results, expected, strict=True):
        assert torch.equal(torch.cat([first, second]), whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"criterion": Lamp()}, r"Lamp\("),
        ({"criterion": Random()}, r"Random\("),
        ({"granularity": NM(1, 2)}, r"NM\("),
        ({"allocation": Uniform()}, r"Uniform\("),
        ({"of": "macs"}, "units of different cost"),
    ],
)
def test_what_needs_whole_weights_is_refused(change: dict[str, Any], named: str) -> None:
    recipe = Recipe(0.5, **{"granularity": Weight()} | change)
    shapes = {f"{i}": torch.Size([n]) for i, n in enumerate(SIZES)}
    prices = {"0": 1.0, "1": 2.0, "2": 3.0}
    cost = cost_of(recipe.of, groups(), shapes, prices)
    with pytest.raises(TargetError, match=f"works on shards .* but got .*{named}"):
        check_sharded(recipe, groups(), cost)


def test_channels_take_any_allocation() -> None:
    coupled = [Group("0", 6, (Member(Axis("0", 0), "out", 6),))]
    cost = cost_of("parameters", coupled, {"0": torch.Size([6])}, None)
    check_sharded(Recipe(0.5, allocation=Uniform()), coupled, cost)
