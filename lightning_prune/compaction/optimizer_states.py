"""Optimizer states: what an optimizer keeps of the parameters that a compaction has cut.

Parameters keep their identity in a compaction, so an optimizer goes on holding them, but its
momentum and the like still have the full size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from lightning_prune.compaction.plan import Cut, Plan


def cut_optimizer_state(optimizer: Optimizer, model: nn.Module, plan: Plan) -> list[str]:
    """Cut what an optimizer keeps of the parameters of a model that has become compact.

    Tensors of a parameter's full shape lose what the parameter lost, and so do factored ones:
    those of size one along some dimensions, or without one of them. Single numbers stay. Where
    anything else is kept of a parameter, all of that is dropped: it goes on as if it were new.

    Args:
        optimizer: steps on parameters of ``model``; its state is changed in place.
        model: the model after the compaction.
        plan: what the compaction has done to it.

    Returns:
        The names of the parameters whose state was dropped.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    if isinstance(optimizer, LBFGS) and plan.axes:  # one history of all parameters, end to end
        dropped = [names.get(id(p), "") for p in optimizer.state]
        optimizer.state.clear()
        optimizer._numel_cache = None
        return dropped
    dropped = []
    for parameter, cuts in _cuts(model, plan):
        state = optimizer.state.get(parameter, {})
        try:
            state.update({key: _cut(value, parameter, cuts) for key, value in state.items()})
        except _UnknownStateError:
            del optimizer.state[parameter]
            dropped.append(names[id(parameter)])
    return dropped


class _UnknownStateError(Exception):
    """A part of a state of which nobody can tell what belongs to which position."""


def _cuts(model: nn.Module, plan: Plan) -> list[tuple[Tensor, dict[int, Cut]]]:
    """Return every parameter that a plan has cut, with the cut of each dimension."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    cuts: dict[Tensor, dict[int, Cut]] = defaultdict(dict)
    for axis, cut in plan.axes.items():
        if axis.tensor in parameters:
            cuts[parameters[axis.tensor]][axis.dim] = cut
    return list(cuts.items())


def _cut(value: Any, parameter: Tensor, cuts: Mapping[int, Cut]) -> Any:
    full = [cuts[dim].size if dim in cuts else n for dim, n in enumerate(parameter.shape)]
    if not isinstance(value, Tensor):
        if value is None or isinstance(value, (bool, int, float)):
            return value
        raise _UnknownStateError
    if value.numel() == 1 and list(value.shape) != full:
        return value
    if not value.is_floating_point():  # quantized in blocks, perhaps
        raise _UnknownStateError
    for place, dim in enumerate(_dims(value.shape, full)):
        if dim in cuts and value.shape[place] == cuts[dim].size:
            kept = torch.tensor(cuts[dim].kept, dtype=torch.long, device=value.device)
            value = value.index_select(place, kept)
    if value.shape == parameter.shape:  # in the parameter's memory format
        return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)
    return value


def _dims(shape: Sequence[int], full: Sequence[int]) -> list[int]:
    """Return which dimension of a parameter each dimension of its state is.

    Raises:
        _UnknownStateError: if that cannot be told.
    """
    every = list(range(len(full)))
    if len(shape) == len(full) and all(n in {1, size} for n, size in zip(shape, full, strict=True)):
        return every
    found = [
        left
        for left in ([dim for dim in every if dim != gone] for gone in every)
        if [full[dim] for dim in left] == list(shape)
    ]
    if len(found) != 1:
        raise _UnknownStateError
    return found[0]
