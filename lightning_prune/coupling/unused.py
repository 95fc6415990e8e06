"""Unused: parameters that no example runs, and what they may read.

An auxiliary head that only the training runs reads hidden features of which a recording of
``forward`` knows nothing. Whatever has as many coordinates as some dimension of such a parameter
may be read by it and stays. Which parameters ran is taken from the recordings alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Graph
from lightning_prune.coupling.labels import Freeze, Ids, Labels
from lightning_prune.coupling.solve import Solution
from lightning_prune.modules.news import is_news

log = logging.getLogger(__name__)


def unused_parameters(model: nn.Module, graphs: Iterable[Graph]) -> tuple[str, ...]:
    """Return the names of the parameters, of more than one element, that no recording has used.

    Args:
        model: the model that was recorded.
        graphs: its recordings.
    """
    used = {value.name for graph in graphs for value in graph.values}
    return tuple(n for n, p in model.named_parameters() if n not in used and p.numel() > 1)


def may_read(name: str) -> str:
    """Return the reason for which what an unused parameter may read is frozen.

    Args:
        name: of the parameter.
    """
    return (
        f"{name}, which the example did not run, may read it. Pass an example that runs it, or "
        "allow_unused=True"
    )


def freeze_readable(
    labels: Labels, solution: Solution, traces: Sequence[Trace], unused: Mapping[str, torch.Size]
) -> Solution:
    """Freeze every component that a parameter of fitting width may read.

    Args:
        labels: as solved; new reasons are added to it.
        solution: what came of it.
        traces: recordings with their labels.
        unused: shape of every parameter that none of them has used, by name.

    Returns:
        The solution, in which components stay that lie along as many coordinates as some dimension
        of an unused parameter has, or along a dimension from which on a value flattens to as many.
    """
    readers: dict[int, str] = {}
    for name, shape in unused.items():
        for size in shape:
            readers.setdefault(size, name)
    readers.pop(1, None)
    reason = solution.reason.copy()
    indices: dict[str, int] = {}
    for width, ids in _widths(traces) if readers else ():
        if width in readers:
            name = readers[width]
            index = indices.setdefault(name, len(labels.freezes))
            if index == len(labels.freezes):
                labels.freezes.append(Freeze(np.zeros(0, np.int64), may_read(name)))
            components = np.unique(solution.component[ids])
            reason[components[reason[components] < 0]] = index
    return replace(solution, reason=reason)


def _widths(traces: Iterable[Trace]) -> Iterator[tuple[int, Ids]]:
    """Find how wide a reader of labelled dimensions would be.

    A reader of an activation may also see all dimensions from the labelled one on flattened.

    Args:
        traces: recordings with their labels.

    Yields:
        A width, and the ids that such a reader would read.
    """
    for trace in traces:
        for ref, planes in trace.planes.items():
            shape, is_own = trace.graph[ref].shape, trace.graph[ref].name is not None
            for plane in planes:
                for dim in plane.varying:
                    yield shape[dim], plane.ids.numpy()
                    if not is_own:
                        yield math.prod(shape[dim:]), plane.ids.numpy()


def parts_of(unused: Iterable[str], parameters: Iterable[str]) -> tuple[str, ...]:
    """Name modules in place of parameters where none of their parameters is used.

    Args:
        unused: names of parameters that are not used.
        parameters: names of all parameters.

    Returns:
        Names of the outermost such modules, and of single parameters of others.
    """
    unused = tuple(unused)
    used = set(parameters) - set(unused)
    busy = {outer for name in used for outer in _outer_modules(name)}
    parts = [next((m for m in _outer_modules(n) if m not in busy), n) for n in unused]
    return tuple(dict.fromkeys(parts))


def _outer_modules(parameter: str) -> list[str]:
    """Return the names of the modules that hold a parameter, outermost first, but for the root."""
    parts = parameter.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def warn_unused(model: nn.Module, unused: Sequence[str]) -> None:
    """Name what the examples did not run, on rank zero and once for a model.

    Args:
        model: what they ran.
        unused: names of its parameters that are not used.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not unused or (distributed and torch.distributed.get_rank()):
        return
    parts = ", ".join(parts_of(unused, dict(model.named_parameters())))
    message = (
        f"The example inputs do not run {parts}. What they may read, by its width, stays. Pass a "
        'list of examples that run them too, such as [x, Call("encode", x)], or allow_unused=True '
        "if they never read what is pruned."
    )
    if is_news(model, message):
        log.warning(message)
