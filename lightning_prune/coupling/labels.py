"""Labels: an integer id for every coordinate of every parameter and buffer dimension.

Id 0 means *immovable*. Rules tie ids that must live and die together and freeze ids that must
stay; `solve` turns what was said here into units. Labels of several traces of one model share one
id space, so that what holds in any trace holds in the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
    """

    ids: Tensor
    zero: bool
    uniform: bool = False

    @property
    def varying(self) -> set[int]:
        """Dimensions along which the ids differ."""
        return {dim for dim, size in enumerate(self.ids.shape) if size > 1}


@dataclass(frozen=True, eq=False)
class Freeze:
    """Ids that must stay, and why."""

    ids: Ids
    reason: str


class Labels:
    """The id space of one model and everything that rules said about it.

    Args:
        trailing: marks ids whose grids keep what trails, not what leads, shape ``[ids]``.
    """

    def __init__(self, trailing: NDArray[np.bool_] | None = None) -> None:
        self._trailing = trailing
        self.count = 1
        self.starts: dict[Axis, int] = {}
        self.sizes: dict[Axis, int] = {}
        self.buffers: set[str] = set()
        self.ties: list[tuple[Ids, Ids]] = []
        self.same_side: list[tuple[Ids, Ids]] = []
        self.freezes: list[Freeze] = []
        self.grids: list[Tensor] = []
        self.read_ids: list[Ids] = []
        self.written_ids: list[Ids] = []
        self.constant_ids: list[Ids] = []
        self.exposed_ids: list[Ids] = []
        self.shape_ids: list[Ids] = []
        self.kernel_ids: list[Ids] = []
        self.cut_ids: list[Ids] = []
        self.part_ids: list[Ids] = []
        self.grouped: set[str] = set()
        self.prices: dict[str, float] = {}

    @contextmanager
    def discard_labels(self) -> Iterator[None]:
        """Forget whatever is said inside of this context."""
        said = [value for value in vars(self).values() if isinstance(value, list)]
        lengths = [len(value) for value in said]
        yield
        for value, length in zip(said, lengths, strict=True):
            del value[length:]

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

    def tie(self, first: Tensor, second: Tensor, *, same_side: bool = False) -> None:
        """Say that ids at the same place of two broadcastable tensors live and die together.

        Args:
            first: some ids.
            second: others.
            same_side: the parameters that hold them are parts of one weight: what is said of the
                one, that it reads or writes, holds for the other.
        """
        first, second = torch.broadcast_tensors(first, second)
        differ = first != second
        if bool(differ.any()):
            pair = (first[differ].numpy(), second[differ].numpy())
            self.ties.append(pair)
            if same_side:
                self.same_side.append(pair)

    def freeze(self, ids: Tensor, reason: str) -> None:
        """Say that ``ids`` must stay."""
        self.freezes.append(Freeze(np.unique(ids.numpy()), reason))

    def kernel(self, ids: Tensor) -> None:
        """Say that ``ids`` are positions of a kernel: they stay, and nobody expects otherwise."""
        self.kernel_ids.append(np.unique(ids.numpy()))

    def read(self, ids: Tensor) -> None:
        """Say that the parameter axes which hold ``ids`` read their units."""
        self.read_ids.append(np.unique(ids.numpy()))

    def write(self, ids: Tensor) -> None:
        """Say that the parameter axes which hold ``ids`` write their units."""
        self.written_ids.append(np.unique(ids.numpy()))

    def reads_constant(self, ids: Tensor) -> None:
        """Say that a zeroed unit reads as a constant other than zero here."""
        self.constant_ids.append(np.unique(ids.numpy()))

    def expose(self, ids: Tensor) -> None:
        """Say that something other than a weight reads the units here: zeros add nothing to it."""
        self.exposed_ids.append(np.unique(ids.numpy()))

    def shape_only(self, ids: Tensor) -> None:
        """Say that the parameter axes which hold ``ids`` are cut, but must not be zeroed."""
        self.shape_ids.append(np.unique(ids.numpy()))

    def cut(self, ids: Tensor, parts: Sequence[Tensor]) -> None:
        """Say that of the ids of a weight only these parts are used here.

        How much of a weight is used may depend on the inputs, like the positions of an embedding
        up to the length of a text: what is in no part of any trace must stay.
        """
        self.cut_ids.append(np.unique(ids.numpy()))
        self.part_ids += [np.unique(part.numpy()) for part in parts]

    def product(self, ids: Tensor) -> None:
        """Say that what is kept of ``ids`` must be a product over its varying dimensions."""
        self.grids.append(ids)
