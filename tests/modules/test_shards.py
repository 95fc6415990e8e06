"""Shards on a group of one process; several are tried end to end in tests/callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lightning_prune.errors import TargetError
from lightning_prune.modules.shards import (
    check_shards,
    gather_over_ranks,
    is_sharded,
    join_like,
    local,
    max_over_ranks,
    rank_among,
    shard_like,
    sum_over_ranks,
    whole,
)

# torch 2.6 says so whenever a mesh of CPUs is made
pytestmark = pytest.mark.filterwarnings("ignore:DTensor random operators may not have")


class Like:
    """Stands for a tensor that ``ranks`` share; this is rank ``rank``."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.device_mesh = self
        self.full_tensor = None
        self._rank, self._ranks = rank, ranks

    def size(self) -> int:
        return self._ranks

    def get_local_rank(self) -> int:
        return self._rank


@pytest.mark.parametrize(
    ("rows", "ranks", "expected"),
    [(9, 2, [5, 4]), (4, 2, [2, 2]), (3, 4, [1, 1, 1, 0]), (5, 4, [2, 2, 1, 0])],
)
def test_shards_are_cut_as_torch_chunks(rows: int, ranks: int, expected: list[int]) -> None:
    full = torch.arange(rows * 2).view(rows, 2)
    parts = [shard_like(full, Like(rank, ranks)) for rank in range(ranks)]  # type: ignore[arg-type]
    assert [len(part) for part in parts] == expected
    assert torch.equal(torch.cat(parts), full)


@pytest.fixture
def sharded() -> Iterator[Any]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        yield distribute_tensor(torch.arange(6.0).view(3, 2), mesh, [Shard(0)])
    finally:
        dist.destroy_process_group()


def test_a_sharded_tensor_and_its_parts(sharded: Any) -> None:
    assert is_sharded(sharded)
    part = local(sharded)
    assert not is_sharded(part)
    assert part.data_ptr() == sharded.to_local().data_ptr()
    assert torch.equal(whole(join_like(part.flatten(), sharded)), whole(sharded))
    assert torch.equal(shard_like(torch.ones(3, 2), sharded), torch.ones(3, 2))
    assert sum_over_ranks(torch.tensor(2), sharded) == max_over_ranks(torch.tensor(2), sharded) == 2
    assert gather_over_ranks(torch.tensor([2]), sharded).tolist() == [[2]]
    assert rank_among(sharded) == 0


def test_whole_tensors_pass() -> None:
    tensor = torch.ones(2)
    for same in (local(tensor), whole(tensor), shard_like(tensor, tensor)):
        assert same is tensor
    assert join_like(tensor, tensor) is sum_over_ranks(tensor, tensor) is tensor


def test_mixed_layouts_are_refused(sharded: Any) -> None:
    check_shards([sharded, sharded])
    check_shards([torch.ones(1)])
    with pytest.raises(TargetError, match=r"all alike|shard all alike"):
        check_shards([sharded, nn.Parameter(torch.ones(1))])
