"""Prices: how many milliseconds an element of each weight costs, on this device at this batch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.measure.layers import layer_times
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.ranks import from_rank_zero
from lightning_prune.pruning.latency.cache import cached_times


def millisecond_prices(
    model: nn.Module, example: ExampleInputs, macs: Mapping[str, float], like: Tensor
) -> dict[str, float]:
    """Return what an element of each parameter costs in ms.

    The time of a module is shared among the elements of its parameters. One that was not seen to
    run is priced by its multiply-adds, as the others are on average.

    Args:
        model: any module.
        example: arguments for it.
        macs: multiply-adds per element of each weight, by name.
        like: a tensor on a device over which ranks communicate.

    Returns:
        Prices by the name of the parameter, 0 where nothing is known.
    """
    owners = [name for name, module in model.named_modules() if [*module.parameters(recurse=False)]]

    def measure() -> list[float]:
        found = cached_times(_conditions(model, example), lambda: layer_times(model, example))
        return [found.get(name, 0.0) for name in owners]

    times = dict(zip(owners, from_rank_zero(measure, like, len(owners)), strict=True))
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.numel()}
    owned: dict[str, int] = {}
    for name, size in sizes.items():
        owner = name.rpartition(".")[0]
        owned[owner] = owned.get(owner, 0) + size
    prices = {
        name: times.get(name.rpartition(".")[0], 0.0) / owned[name.rpartition(".")[0]]
        for name in sizes
    }
    seen = [name for name, price in prices.items() if price and macs.get(name)]
    adds = sum(macs[name] * sizes[name] for name in seen)
    per_add = sum(prices[name] * sizes[name] for name in seen) / adds if adds else 1.0
    return {name: price or per_add * macs.get(name, 0.0) for name, price in prices.items()}


def _conditions(model: nn.Module, example: ExampleInputs) -> dict[str, Any]:
    """Return all that the times depend on: machine, versions, modules, shapes."""
    tensors = [*example.tensors, *model.parameters()]
    device = tensors[-1].device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "machine": [platform.node(), platform.machine(), name, str(device)],
        "versions": [1, torch.__version__, platform.python_version()],
        "threads": torch.get_num_threads(),
        "inputs": [[list(t.shape), str(t.dtype)] for t in example.tensors],
        "method": example.method,
        "modules": [[n, type(m).__qualname__] for n, m in model.named_modules()],
        "parameters": [[n, list(p.shape), str(p.dtype)] for n, p in model.named_parameters()],
    }
