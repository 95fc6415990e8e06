"""Rules for operations that give a value other dimensions, its elements in the same order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from lightning_prune.coupling.graph import Node
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule
from lightning_prune.coupling.rules.layout import compress

Shape = tuple[int, ...]


@rule(
    *(
        f"aten::{name}"
        for name in (
            "view _unsafe_view view_as reshape reshape_as flatten unflatten squeeze unsqueeze"
        ).split()
    ),
    moves=True,
)
def reshape(p: Propagation, node: Node) -> list[Planes]:
    # y = x.reshape(size)   ties: y carries the ids of x to where their elements go
    x, y = node.args[0], node.results[0]
    if p.dtype(x) != p.dtype(y):
        p.freeze_all(node.inputs, "bits are read as another type")
        return []
    planes = []
    # What led comes first: of two labels on one dimension the first is kept, as of a grid.
    for plane in sorted(p.planes(x), key=lambda plane: min(plane.varying)):
        ids = reshaped(plane.ids, p.shape(x), p.shape(y))
        planes.append(replace(plane, ids=compress(ids)))
        _tie_shuffled(p, plane, planes[-1])
    return [planes]


def reshaped(ids: Tensor, old: Shape, new: Shape) -> Tensor:
    """Reshape the ids of a value of one shape to another shape.

    Args:
        ids: of size 1 along dimensions that they do not tell apart.
        old: the shape of the value.
        new: its next shape.

    Returns:
        The ids, of size 1 where none of the dimensions merged or split has any.
    """
    sizes, result = list(ids.shape), list(new)
    for step in _steps(old, new):
        if math.prod(sizes[step.before]) == 1:
            result[step.after] = [1] * len(result[step.after])
        else:
            sizes[step.before] = old[step.before]
    return ids.expand(sizes).reshape(result)


@dataclass(frozen=True)
class _Step:
    """Neighbouring dimensions before and after, of as many elements, none of which can be left."""

    before: slice
    after: slice


def _steps(old: Shape, new: Shape) -> Iterator[_Step]:
    if 0 in old:
        yield _Step(slice(0, len(old)), slice(0, len(new)))
        return
    i = j = 0
    while i < len(old) or j < len(new):
        start, before, after = (i, j), 1, 1
        while (i, j) == start or before != after:
            if j == len(new) or (i < len(old) and before <= after):
                before *= old[i]
                i += 1
            else:
                after *= new[j]
                j += 1
        yield _Step(slice(start[0], i), slice(start[1], j))


def _tie_shuffled(p: Propagation, before: Plane, after: Plane) -> None:
    """Of channels merged in another order than they were split, neighbours go together.

    Like this, what groups of channels mix remains one removable column of every group.
    """
    dims = sorted(before.varying)
    strides = [before.ids.stride(dim) for dim in dims]
    if len(after.varying) < len(dims) and strides != sorted(strides, reverse=True):
        p.tie(before.ids, before.ids.narrow(dims[-1], 0, 1))
