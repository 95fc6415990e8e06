"""Labels: an integer id for every coordinate of every parameter and buffer dimension.

Id 0 means *immovable*. Rules tie ids that must live and die together and freeze ids that must
stay; `solve` turns what was said here into units. Labels of several traces of one model share one
id space, so that what holds in any trace holds in the result.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_prune.units.group import Axis

Ids = NDArray[np.int64]

OUTPUT = "written to the model's output"


@dataclass(frozen=True, eq=False)
class Plane:
    """The ids along some dimensions of one tensor.

    Args:
        ids: integers, of the tensor's rank; size 1 along dimensions that do not tell coordinates
            apart.
        zero: a coordinate whose unit is zeroed holds the value zero here.
        uniform: all coordinates hold the same, because an operation filled or repeated one value.
        fixed: names of the parameters and buffers of which alone the value is made; where these
            are zeroed with a unit, so is the value, be it ``zero`` or not.
    """

    ids: Tensor
    zero: bool
    uniform: bool = False
    fixed: frozenset[str] = frozenset()

    @cached_property
    def varying(self) -> frozenset[int]:
        """Dimensions along which the ids differ."""
        return frozenset(dim for dim, size in enumerate(self.ids.shape) if size > 1)

    def unfixed(self) -> Plane:
        """Return the labels of what is no longer zero where some weights are."""
        return replace(self, fixed=frozenset()) if self.fixed else self


@dataclass(frozen=True, eq=False)
class Tie:
    """Ids that live and die together, one by one.

    Args:
        first: some ids, shape ``[ids]``.
        second: those to which they are tied, of the same shape.
        same_side: the parameters that hold them are parts of one weight: if one of them reads, or
            writes, so does the other.
    """

    first: Ids
    second: Ids
    same_side: bool = False


@dataclass(frozen=True, eq=False)
class Freeze:
    """Ids that must stay, and why."""

    ids: Ids
    reason: str


Sort = Literal[
    "read",
    "written",
    "constant",
    "exposed",
    "shape",
    "kernel",
    "granular",
    "whole",
    "part",
    "apart",
    "picked",
]
"""What a `Mark` says of ids; the method of `Labels` that makes it says it in full."""


@dataclass(frozen=True, eq=False)
class Mark:
    """Ids of which something is said that neither ties nor freezes them at once."""

    sort: Sort
    ids: Ids


class Labels:
    """The id space of one model and everything that rules said about it.

    Args:
        trailing: marks ids whose grids keep what trails, not what leads, shape ``[ids]``.
        unchangeable: names of buffers that must not be zeroed with a unit.
        picks: what meets units may be picked from a value that no weight writes.

    Attributes:
        count: how many ids there are.
        starts: the first id of every axis.
        sizes: how many ids every axis has, one after the other.
        buffers: names of the tensors that are buffers.
        ties: which ids live and die together.
        freezes: which ids must stay, the first said first.
        grids: ids of which what is kept must be a product over their dimensions.
        marks: what else is said of ids.
        grouped: names of weights that lose whole groups.
        granule: of what the number of kept positions is a multiple on axes that are granular.
        prices: multiply-adds of each element of a weight, by its name.
        added: names of the parameters and buffers that are added to what other weights write, like
            positions: they are zeroed with a unit even where they are buffers, or frozen.
        unchangeable: names of the buffers that must not be zeroed.
    """

    def __init__(
        self,
        trailing: NDArray[np.bool_] | None = None,
        unchangeable: Collection[str] = (),
        *,
        picks: bool = True,
    ) -> None:
        self._trailing = trailing
        self.picks = picks
        self.count = 1
        self.starts: dict[Axis, int] = {}
        self.sizes: dict[Axis, int] = {}
        self.buffers: set[str] = set()
        self.ties: list[Tie] = []
        self.freezes: list[Freeze] = []
        self.grids: list[Tensor] = []
        self.marks: list[Mark] = []
        self.grouped: set[str] = set()
        self.granule = 1
        self.prices: dict[str, float] = {}
        self.added: set[str] = set()
        self.unchangeable = set(unchangeable)

    @contextmanager
    def discard_labels(self, *, but_ties: bool = False) -> Iterator[None]:
        """Forget whatever is said inside of this context, or all but the ties."""
        said: list[list[Any]] = [self.freezes, self.grids, self.marks]
        said += [] if but_ties else [self.ties]
        lengths = [len(facts) for facts in said]
        yield
        for facts, length in zip(said, lengths, strict=True):
            del facts[length:]

    def axis(self, axis: Axis, size: int) -> Tensor:
        """Return the ids along ``axis``, shape ``[size]``, giving it fresh ones when it is new."""
        if axis not in self.starts:
            self.starts[axis], self.sizes[axis] = self.count, size
            self.count += size
        start = self.starts[axis]
        return torch.arange(start, start + size)

    def keeps_trailing(self, ids: Tensor) -> bool:
        """Tell whether a grid of ids is to keep what trails (head features), not what leads."""
        return self._trailing is not None and bool(self._trailing[ids.numpy()].all())

    def fresh(self, size: int) -> Tensor:
        """Return new ids that lie on no parameter or buffer, shape ``[size]``."""
        self.count += size
        return torch.arange(self.count - size, self.count)

    def marked(self, sort: Sort) -> Ids:
        """Return the ids that were marked so, in the order of the marks; some may come again."""
        ids = [mark.ids for mark in self.marks if mark.sort == sort]
        return np.concatenate(ids) if ids else np.zeros(0, np.int64)

    def tie(self, first: Tensor, second: Tensor, *, same_side: bool = False) -> None:
        """Say that ids at the same position of two broadcastable tensors live and die together.

        Args:
            first: some ids.
            second: others.
            same_side: the parameters that hold them are parts of one weight: if one of them reads,
                or writes, so does the other.
        """
        first, second = torch.broadcast_tensors(first, second)
        differ = first != second
        if bool(differ.any()):
            self.ties.append(Tie(first[differ].numpy(), second[differ].numpy(), same_side))

    def freeze(self, ids: Tensor, reason: str) -> None:
        """Say that ``ids`` must stay."""
        self.freezes.append(Freeze(ids.numpy().ravel(), reason))

    def kernel(self, ids: Tensor) -> None:
        """Say that ``ids`` are positions of a kernel: they stay, and no report names them."""
        self._mark("kernel", ids)

    def read(self, ids: Tensor) -> None:
        """Say that the parameter axes which hold ``ids`` read their units."""
        self._mark("read", ids)

    def write(self, ids: Tensor) -> None:
        """Say that the parameter axes which hold ``ids`` write their units."""
        self._mark("written", ids)

    def reads_constant(self, ids: Tensor) -> None:
        """Say that a zeroed unit reads as a constant other than zero here."""
        self._mark("constant", ids)

    def expose(self, ids: Tensor) -> None:
        """Say that something other than a weight reads the units here: zeros add nothing to it."""
        self._mark("exposed", ids)

    def shape_only(self, ids: Tensor) -> None:
        """Say that the parameter axes which hold ``ids`` are cut, but must not be zeroed."""
        self._mark("shape", ids)

    def cut(self, ids: Tensor, parts: Sequence[Tensor]) -> None:
        """Say that of the ids of a weight only these parts are used here.

        How much of a weight is used may depend on the inputs, like the positions of an embedding
        up to the length of a text: what is in no part of any trace must stay.
        """
        self._mark("whole", ids)
        for part in parts:
            self._mark("part", part)

    def granular(self, ids: Tensor, granule: int) -> None:
        """Say that a multiple of ``granule`` stays on the axes that hold ``ids``."""
        self._mark("granular", ids)
        self.granule = math.lcm(self.granule, granule)

    def multiply_apart(self, ids: Tensor) -> None:
        """Say that computed values are multiplied for each unit apart, like heads."""
        self._mark("apart", ids)

    def pick(self, ids: Tensor) -> None:
        """Say that what meets ``ids`` is to be picked from a value that no weight writes."""
        self._mark("picked", ids)

    def product(self, ids: Tensor) -> None:
        """Say that what is kept of ``ids`` must be a product over its varying dimensions."""
        self.grids.append(ids)

    def _mark(self, sort: Sort, ids: Tensor) -> None:
        self.marks.append(Mark(sort, ids.numpy().ravel()))
