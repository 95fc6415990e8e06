"""Solve: from ties, freezes and products to components that live and die together.

Ties make components; a component with one frozen id is frozen whole; ids that vary along several
dimensions of one tensor may only go in whole slices along one of them, which ties more ids, until
nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from lightning_prune.coupling.labels import OUTPUT, Freeze, Ids, Labels, Tie

_IMMOVABLE = Freeze(np.zeros(1, np.int64), "tied to a coordinate that no weight holds")


@dataclass(frozen=True, eq=False)
class Solution:
    """Components of ids.

    Args:
        component: of every id, shape ``[ids]``.
        reason: per component, the index of the first freeze that holds it, or -1 when it may go.
    """

    component: Ids
    reason: Ids

    @property
    def frozen(self) -> NDArray[np.bool_]:
        """Which components must stay, shape ``[components]``."""
        frozen: NDArray[np.bool_] = self.reason >= 0
        return frozen


def solve(labels: Labels) -> Solution:
    """Return the components that satisfy everything said in ``labels``.

    Args:
        labels: ids and what rules said about them; ties found here are added to it.

    Returns:
        The components and what freezes them.
    """
    labels.freezes = [_IMMOVABLE, *labels.freezes]
    labels.freezes.append(Freeze(labels.marked("kernel"), "positions of a kernel"))
    left_out = np.setdiff1d(labels.marked("whole"), labels.marked("part"))
    labels.freezes.append(Freeze(left_out, "in no part of a weight that is used in parts"))
    grids = _unique(labels.grids)
    while True:
        solution = _components(labels)
        broken = [grid for grid in grids if not _is_product(grid, solution)]
        if not broken:
            return solution
        for grid in broken:
            # Keep the leading dimension (heads before head features): the trailing ones are tied.
            leading = min(dim for dim, size in enumerate(grid.shape) if size > 1)
            first = grid
            for dim in range(grid.dim()):
                if dim != leading:
                    first = first.narrow(dim, 0, 1)
            labels.tie(grid, first)


def stuck_grids(labels: Labels, solution: Solution) -> NDArray[np.bool_]:
    """Return which ids lie on grids that can lose nothing of what leads, shape ``[ids]``.

    Like heads of which each has a constant of its own; but not the outputs of the model.

    Args:
        labels: as solved.
        solution: what came of it.
    """
    stuck, held = np.zeros(labels.count, bool), np.zeros(labels.count, bool)
    for axis, start in labels.starts.items():
        held[start : start + labels.sizes[axis]] = axis.tensor not in labels.buffers
    for grid in _unique(labels.grids):
        if not held[grid.numpy()].any():
            continue
        components = np.unique(solution.component[grid.numpy()])
        reasons = {labels.freezes[index].reason for index in set(solution.reason[components])}
        if solution.frozen[components].all() and reasons != {OUTPUT}:
            stuck[grid.numpy()] = True
    return stuck


def connect(ties: Sequence[Tie], count: int) -> Ids:
    """Return the component of every id, shape ``[count]``; id 0 is tied to nothing.

    Args:
        ties: which ids belong together.
        count: how many ids there are.
    """
    first = np.concatenate([tie.first for tie in ties] or [np.zeros(0, np.int64)])
    second = np.concatenate([tie.second for tie in ties] or [np.zeros(0, np.int64)])
    tied = (first != 0) & (second != 0)
    edges = coo_matrix((np.ones(tied.sum(), np.int8), (first[tied], second[tied])), (count, count))
    component: Ids = connected_components(edges, directed=False)[1].astype(np.int64)
    return component


def _components(labels: Labels) -> Solution:
    component = connect(labels.ties, labels.count)
    # Id 0 stands for many unrelated coordinates: it freezes what it touches and joins nothing.
    touched = [_beside_immovable(tie.first, tie.second) for tie in labels.ties]
    reason = np.full(component.max() + 1, len(labels.freezes), np.int64)
    for ids in touched:
        reason[component[ids]] = 0
    for index, freeze in enumerate(labels.freezes):
        np.minimum.at(reason, component[freeze.ids], index)
    reason[reason == len(labels.freezes)] = -1
    return Solution(component, reason)


def _beside_immovable(first: Ids, second: Ids) -> Ids:
    """Return the ids of two arrays that are tied to id 0."""
    others: Ids = np.where(first == 0, second, first)[(first == 0) | (second == 0)]
    return others


def _is_product(grid: Tensor, solution: Solution) -> bool:
    """Tell whether the components of ``grid`` vary along one dimension only."""
    component = solution.component[grid.numpy()]
    component = np.where(solution.frozen[component], -1, component)
    varying = [dim for dim, size in enumerate(grid.shape) if size > 1]
    moving = [d for d in varying if not (component == component.take([0], axis=d)).all()]
    return len(moving) <= 1


def _unique(grids: list[Tensor]) -> list[Tensor]:
    """Drop repeated grids: every layer of a stack reshapes the same stream."""
    found = {
        (grid.shape, grid.contiguous().numpy().tobytes()): grid
        for grid in grids
        if sum(size > 1 for size in grid.shape) > 1
    }
    return list(found.values())
