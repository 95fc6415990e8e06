"""Forecast: which coordinates of every value of a recorded pass stay when some axes are cut.

The labels of parameters tell what becomes of every activation, so the sizes that a smaller model
must show at each operation are known before it runs. Nothing here runs a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_prune.coupling.graph import Graph, Ref
from lightning_prune.coupling.labels import Ids, Labels, Plane
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.units.group import Axis

_Line = NDArray[np.bool_]
"""What stays along a dimension: in numpy, of which the modes that watch torch see nothing."""


@dataclass(frozen=True, eq=False)
class Trace:
    """One recorded pass with its labels.

    Args:
        graph: what ran.
        planes: the labels of its values.
        inputs: what the model was called with.
        training: whether it ran in train mode.
    """

    graph: Graph
    planes: Mapping[Ref, list[Plane]]
    inputs: ExampleInputs
    training: bool


class Forecast:
    """What stays of the values of one trace.

    Args:
        trace: the recorded pass.
        gone: for every id whether its coordinate goes, shape ``[ids]``.
    """

    def __init__(self, trace: Trace, gone: NDArray[np.bool_]) -> None:
        self._trace = trace
        self._gone = gone
        self._kept: dict[Ref, list[_Line | None]] = {}
        self._of_ids: dict[int, dict[int, _Line]] = {}
        self._shapes: dict[Ref, tuple[int, ...]] = {}

    def kept(self, ref: Ref, dim: int) -> Tensor | None:
        """Return what stays of a value along a dimension.

        Args:
            ref: the value.
            dim: the dimension, not negative.

        Returns:
            ``True`` = stays, shape ``[size of dim]``; None if all of it stays.
        """
        lines = self._lines(ref)
        line = lines[dim] if lines else None
        return None if line is None else torch.from_numpy(line)

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Return the sizes that a value will have."""
        if ref not in self._shapes:
            sizes = self._trace.graph[ref].shape
            lines = self._lines(ref) or [None] * len(sizes)
            self._shapes[ref] = tuple(
                size if line is None else int(np.count_nonzero(line))
                for size, line in zip(sizes, lines, strict=True)
            )
        return self._shapes[ref]

    def _lines(self, ref: Ref) -> list[_Line | None]:
        """Return what stays along every dimension, or nothing if all of the value stays."""
        if ref not in self._kept:
            found: list[_Line | None] = [None] * len(self._trace.graph[ref].shape)
            for plane in self._trace.planes.get(ref, ()):
                for dim, line in self._along(plane).items():
                    if found[dim] is None:
                        found[dim] = line
            self._kept[ref] = found if any(line is not None for line in found) else []
        return self._kept[ref]

    def _along(self, plane: Plane) -> dict[int, _Line]:
        """Return what stays along each dimension that shrinks; values share many of their ids."""
        if id(plane.ids) not in self._of_ids:
            gone = self._gone[plane.ids.numpy()]
            lines = {}
            for dim in plane.varying if gone.any() else ():
                line = gone.all(tuple(d for d in range(gone.ndim) if d != dim))
                if line.any():
                    lines[dim] = ~line
            self._of_ids[id(plane.ids)] = lines
        return self._of_ids[id(plane.ids)]


@dataclass(frozen=True, eq=False)
class Traces:
    """The traces of one model, in one id space.

    Args:
        traces: the recorded passes.
        labels: the id space.
        component: the component of every id, shape ``[ids]``.
    """

    traces: tuple[Trace, ...]
    labels: Labels
    component: Ids

    def in_eval_mode(self) -> Traces:
        """Return the traces of passes in eval mode."""
        return replace(self, traces=tuple(one for one in self.traces if not one.training))

    def forecasts(self, kept: Mapping[Axis, Tensor]) -> list[tuple[Trace, Forecast]]:
        """Return what becomes of every trace when axes are cut.

        Args:
            kept: positions that stay along each axis that shrinks.

        Returns:
            Each trace with its forecast.
        """
        gone = self._gone(kept)
        return [(trace, Forecast(trace, gone)) for trace in self.traces]

    def passing(self, trace: Trace, refs: list[Ref], axes: list[Axis]) -> list[bool]:
        """Tell of every axis whether one of its coordinates lies on one of the values.

        Args:
            trace: the pass to which the values belong.
            refs: the values.
            axes: axes of parameters or buffers.

        Returns:
            One answer for each axis.
        """
        here = np.zeros(int(self.component.max(initial=0)) + 1, bool)
        for ref in refs:
            for plane in trace.planes.get(ref, ()):
                here[self.component[plane.ids.numpy()]] = True
        here[self.component[0]] = False
        return [bool(here[self.component[self._ids(axis)]].any()) for axis in axes]

    def _gone(self, kept: Mapping[Axis, Tensor]) -> NDArray[np.bool_]:
        components = np.zeros(int(self.component.max(initial=0)) + 1, bool)
        for axis, positions in kept.items():
            stays = np.zeros(self.labels.sizes[axis], bool)
            stays[positions.numpy()] = True
            components[self.component[self._ids(axis)[~stays]]] = True
        components[self.component[0]] = False
        gone: NDArray[np.bool_] = components[self.component]
        return gone

    def _ids(self, axis: Axis) -> Ids:
        start = self.labels.starts[axis]
        return np.arange(start, start + self.labels.sizes[axis])
