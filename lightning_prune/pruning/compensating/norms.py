"""Norms renewed: the statistics of batch norms, as they are without the removed units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Run = Callable[[nn.Module], Any]
"""Runs a model on a batch of calibration data."""


def norms_with_statistics(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch norms of a model that keep a mean and a variance, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None
    }


@torch.no_grad()
def renew_norms(
    model: nn.Module,
    names: Sequence[str],
    runs: Sequence[Run],
    add_up: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Estimate the statistics of batch norms anew: averages over batches of calibration data.

    Args:
        model: in eval mode; its buffers are changed.
        names: of the norms.
        runs: run a model on the calibration data.
        add_up: returns the sum of a tensor over all ranks.
    """
    found = norms_with_statistics(model)
    norms = [found[name] for name in names]
    before = [(norm.momentum, _batches(norm).clone()) for norm in norms]
    hooks = [norm.register_forward_pre_hook(_train_on_several) for norm in norms]
    for norm in norms:
        norm.momentum = None  # an average of all batches, of which the first replaces what is there
        _batches(norm).zero_()
    for run in runs:
        run(model)
    for norm, hook, (momentum, batches) in zip(norms, hooks, before, strict=True):
        hook.remove()
        norm.eval()
        seen = _batches(norm).double()
        total = add_up(seen.view(1))
        norm.momentum = momentum
        _batches(norm).copy_(batches)
        if total > 0:
            for statistic in statistics(norm):
                statistic.copy_(add_up(statistic.double() * seen) / total)


def statistics(norm: _BatchNorm) -> list[Tensor]:
    """Return the running mean and variance of a batch norm that has them."""
    return [tensor for tensor in (norm.running_mean, norm.running_var) if tensor is not None]


def _batches(norm: _BatchNorm) -> Tensor:
    """Return the number of batches that a batch norm with statistics has seen."""
    return norm.get_buffer("num_batches_tracked")


def _train_on_several(norm: nn.Module, args: tuple[Any, ...]) -> None:
    """Let a norm take the statistics of its inputs, unless one value is all there is of them."""
    norm.train(args[0].numel() > args[0].shape[1])


@torch.no_grad()
def copy_statistics(source: nn.Module, target: nn.Module) -> None:
    """Copy the statistics of batch norms from one copy of a model to another."""
    norms = norms_with_statistics(source)
    for name, norm in norms_with_statistics(target).items():
        for mine, theirs in zip(statistics(norm), statistics(norms[name]), strict=True):
            mine.copy_(theirs)
