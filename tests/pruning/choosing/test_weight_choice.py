"""Single weights are chosen a piece at a time, and on two ranks, as if all were sorted."""

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
from lightning_prune.modules.tiles import Piece, tiles_of
from lightning_prune.pruning.choosing import weight_choice
from lightning_prune.pruning.choosing.choice import choose
from lightning_prune.pruning.choosing.weight_choice import check_sharded, choose_weights
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.units.cost import Cost, Term, cost_of
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
        "is_sharded": lambda like: True,
    }
    for name, function in tell.items():
        monkeypatch.setattr(weight_choice, name, function)
    return ranks


SIZES = (6, 1, 10)


def chosen(
    scores: list[Tensor], dead: list[Tensor], cost: Cost, sparsity: float, like: Any
) -> list[Tensor]:
    """Choose by the keys of these scores, in pieces of three."""

    def keys(piece: Piece) -> Tensor:
        ordered = weight_choice._ordered(piece.of_flat(scores))
        return ordered.masked_fill_(piece.of_flat(dead), weight_choice._GOES)

    pieces = [p for tile in tiles_of([s.shape for s in scores], 3) for p in tile]
    found: list[list[Tensor]] = [[s.new_empty(0, dtype=torch.bool)] for s in scores]
    for piece, stays in weight_choice._choose(keys, pieces, cost, sparsity, like):
        found[piece.index].append(stays)
    return [torch.cat(parts) for parts in found]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.6, 0.8])
@pytest.mark.parametrize("levels", [2, 4, 10_000])
@pytest.mark.parametrize("seed", range(4))
def test_pieces_choose_as_a_sorting(seed: int, levels: int, sparsity: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = (60, 1, 100, 7)
    # Few levels: ties within and between pieces; of both signs, and both zeros.
    scores = [(torch.randint(0, levels, (n,), generator=generator) - 1) / 7.0 for n in sizes]
    scores[0][0] = -0.0
    dead = [torch.rand(n, generator=generator) < 0.15 for n in sizes]
    dead[3][:] = True
    made = [Group(f"{i}", n, (Member(Axis(f"{i}", -1), "out", n),)) for i, n in enumerate(sizes)]
    cost = cost_of("parameters", made, {f"{i}": torch.Size([n]) for i, n in enumerate(sizes)}, None)
    buried = [s.masked_fill(d, -torch.inf) for s, d in zip(scores, dead, strict=True)]
    expected = choose(buried, cost, sparsity, [1] * len(sizes))
    found = chosen(scores, dead, cost, sparsity, torch.empty(0))
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_what_is_removed_stays_removed() -> None:
    weights = [torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.ones(2, 2)]
    kept = [torch.tensor([False, True, True, True]), torch.ones(4, dtype=torch.bool)]
    cost = Cost((4, 4), tuple(Term(1.0, 1, ((4, ((i, 1),)),)) for i in range(2)))
    scores = [torch.tensor([9.0, 9.0, 3.0, 4.0]), torch.tensor([1.0, 5.0, 1.0, 5.0])]
    found = choose_weights(lambda piece: piece.of_flat(scores), kept, [1, 0], weights, cost, 3 / 8)
    assert found[0].tolist() == [False, False, True, True]
    assert found[1].tolist() == [False, True, True, True]


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
        results[rank] = chosen(part(scores), part(dead), cost, sparsity, like)

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
