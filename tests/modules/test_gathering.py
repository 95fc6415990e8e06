"""A sharded module is copied as it was before, on a group of one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from support.sharding import needs_shards_on_cpu
from torch import nn

from lightning_prune.modules.gathering import gather, has_shards, reshard, structure_of


@pytest.fixture
def net() -> Iterator[nn.Module]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        net[2].weight.requires_grad_(False)
        net.register_forward_hook(_seen)
        fully_shard(net[0], mesh=mesh)
        yield fully_shard(net, mesh=mesh)
    finally:
        dist.destroy_process_group()


def _seen(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
    return output + 1


def test_the_structure_is_plain_and_without_numbers(net: nn.Module) -> None:
    assert has_shards(net)
    structure = structure_of(net)
    assert not has_shards(structure)
    assert {p.device.type for p in structure.parameters()} == {"meta"}
    assert [type(m) for m in structure.modules()] == [
        nn.Sequential, nn.Linear, nn.BatchNorm1d, nn.Linear
    ]  # fmt: skip
    assert not structure[2].weight.requires_grad


@needs_shards_on_cpu
def test_what_is_gathered_computes_the_same(net: nn.Module) -> None:
    x = torch.randn(5, 3)
    with torch.no_grad():
        expected = net.eval()(x)  # leaves the last layer gathered
        net_again = gather(net, keep=True)
        assert net_again is not None
        assert torch.allclose(net_again(x), expected)
        assert torch.allclose(net(x), expected)
    assert type(net).__name__ == "FSDPSequential"
    assert gather(net, keep=False) is None


def test_plain_modules_have_nothing_to_let_go() -> None:
    net = nn.Linear(2, 2)
    reshard(net)
    assert not has_shards(net)
