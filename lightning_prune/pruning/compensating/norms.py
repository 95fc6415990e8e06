"""Norms renewed: the statistics of batch norms, as they are without the removed units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Run = Callable[[nn.Module], Any]
"""Runs a model on a batch of calibration data."""

_SHOWING = 4
"""Batches, of all that there are, on which to see at first what an update has reached."""


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
    before: nn.Module,
    names: Sequence[str],
    runs: Sequence[Run],
    add_up: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Estimate the statistics of batch norms anew, where they are others than before.

    Those that an update has not reached keep the averages of the whole training.

    Args:
        model: in eval mode; its buffers are changed.
        before: the model before the update, in eval mode; its buffers are changed, too.
        names: of the norms.
        runs: run a model on the calibration data.
        add_up: returns the sum of a tensor over all ranks.
    """
    norms = norms_with_statistics(model)
    reached: dict[str, Tensor] = {}
    some = tuple(runs[:: max(1, len(runs) // _SHOWING)])
    for seen in dict.fromkeys((some, tuple(runs))):
        old, new = (_estimated(one, names, seen, add_up) for one in (before, model))
        reached = {name: _reached(norms[name], old[name], new[name]) for name in old}
        if all(_is_clear(norms[name], old[name], reached[name]) for name in old):
            break
    names = [name for name in names if reached[name].any()]
    # On all batches, while the others norm by what they keep.
    for name, values in _estimated(model, names, runs, add_up).items():
        for statistic, value in zip(statistics(norms[name]), values, strict=True):
            statistic.copy_(torch.where(reached[name], value.to(statistic), statistic))


def _reached(norm: _BatchNorm, old: Sequence[Tensor], new: Sequence[Tensor]) -> Tensor:
    """Return which channels an update has changed and left, as booleans, shape ``[channels]``."""
    return torch.stack([a != b for a, b in zip(old, new, strict=True)]).any(0) & _left(norm)


def _left(norm: _BatchNorm) -> Tensor:
    """Return which channels are not zeroed, as booleans, shape ``[channels]``."""
    parameters = [p.detach() != 0 for p in norm.parameters()]
    if not parameters:
        return torch.ones_like(statistics(norm)[0], dtype=torch.bool)
    return torch.stack(parameters).any(0)


def _is_clear(norm: _BatchNorm, old: Sequence[Tensor], reached: Tensor) -> bool:
    """Tell whether a norm that saw data is reached in all of its channels, or in none."""
    # Where only some seem to be, others may have been silent: more batches must be seen.
    saw_data = any(bool(statistic.any()) for statistic in old)
    return saw_data and (not bool(reached.any()) or bool((reached == _left(norm)).all()))


def _estimated(
    model: nn.Module,
    names: Sequence[str],
    runs: Sequence[Run],
    add_up: Callable[[Tensor], Tensor],
) -> dict[str, list[Tensor]]:
    """Return mean and variance of what norms read, as averages over batches, by name."""
    if not names:
        return {}
    norms = {name: norm for name, norm in norms_with_statistics(model).items() if name in names}
    kept = {name: [t.clone() for t in norm.buffers()] for name, norm in norms.items()}
    hooks = [norm.register_forward_pre_hook(_train_on_several) for norm in norms.values()]
    momentum = {name: norm.momentum for name, norm in norms.items()}
    for norm in norms.values():
        norm.momentum = None  # an average of all batches, of which the first replaces what is there
        _batches(norm).zero_()
    for run in runs:
        run(model)
    for hook in hooks:
        hook.remove()
    found = {}
    for name, norm in norms.items():
        seen = _batches(norm).double()
        total = add_up(seen.view(1)).clamp_min(1)
        found[name] = [add_up(t.double() * seen) / total for t in statistics(norm)]
        norm.eval()
        norm.momentum = momentum[name]
        for tensor, value in zip(norm.buffers(), kept[name], strict=True):
            tensor.copy_(value)
    return found


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
