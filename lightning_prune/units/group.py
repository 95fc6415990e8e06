"""What can be removed: axes, members and groups of units.

These values are the common language of granularities (what a unit is), coupling (which axes share
their units), masks (which units are zeroed) and compaction (which units are removed). They hold
names and positions, never a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

Side = Literal["out", "in", "shape"]
"""``"out"`` writes the unit, ``"in"`` reads it, ``"shape"`` is cut with it but never zeroed."""


@dataclass(frozen=True, order=True)
class Axis:
    """One dimension of one named tensor.

    Args:
        tensor: name of a parameter or buffer, as in the state dict.
        dim: the dimension, or -1 for the flattened tensor (units are single weights).
    """

    tensor: str
    dim: int

    @override
    def __str__(self) -> str:
        return f"{self.tensor}[{'flat' if self.dim < 0 else self.dim}]"


@dataclass(frozen=True, eq=False)
class Member:
    """An axis with the positions that each unit of a group owns there.

    Args:
        axis: which dimension of which tensor.
        side: ``"out"`` writes the unit, ``"in"`` reads it; ``"shape"`` is removed with the unit,
            but never zeroed: zeros would give NaN, as in a direction whose length is divided out.
        size: number of positions along the axis, also those that no unit of the group owns.
        positions: positions owned by each unit, shape ``[units, width]``, no position twice;
            ``None`` when unit *i* owns exactly position *i*.
        buffer: the tensor is a buffer, not a parameter.
        added: the tensor is added to what others write, as positions are. It is zeroed with the
            unit even where it is a buffer, or frozen.
        owner: where one unit owns all positions and the others none, its index and the number of
            units; the others have axes of their own that are as long.
    """

    axis: Axis
    side: Side
    size: int
    positions: Tensor | None = None
    buffer: bool = False
    added: bool = False
    owner: tuple[int, int] | None = None

    @property
    def width(self) -> float:
        """Positions owned by one unit, on average over the units."""
        if self.owner is not None:
            return self.size / self.owner[1]
        return 1 if self.positions is None else self.positions.shape[1]

    def owned_by(self, units: Tensor) -> Tensor:
        """Return the positions of the units marked ``True`` in ``units``, shape ``[positions]``."""
        if self.owner is not None:
            return torch.arange(self.size if units[self.owner[0]] else 0)
        if self.positions is None:
            return units.nonzero().flatten()
        return self.positions[units].flatten()

    def gather(self, values: Tensor, elsewhere: float = 0) -> Tensor:
        """Return what each unit owns of values along the axis.

        Args:
            values: a value for every position, shape ``[size, ...]``.
            elsewhere: the value where another unit is the owner of all.

        Returns:
            Shape ``[units, width, ...]``; as wide as the axis where one unit is the owner of all.
        """
        if self.owner is not None:
            unit, units = self.owner
            found = values.new_full((units, *values.shape), elsewhere)
            found[unit] = values
            return found
        if self.positions is None:
            return values.unsqueeze(1)
        return values[self.positions.to(values.device)]

    def spread(self, values: Tensor, elsewhere: bool | float) -> Tensor:
        """Return the value of each unit at every position that it owns.

        Args:
            values: a value for every unit, shape ``[units]``.
            elsewhere: the value of the positions that no unit owns.

        Returns:
            Shape ``[size]``; ``values`` themselves where there is one for each position.
        """
        if self.owner is None and self.positions is None and values.numel() == self.size:
            return values
        spread = torch.full((self.size,), elsewhere, dtype=values.dtype, device=values.device)
        if self.owner is not None:
            return spread.copy_(values[self.owner[0]])
        if self.positions is None:
            spread[: values.numel()] = values
        else:
            spread[self.positions.to(values.device)] = values.unsqueeze(1)
        return spread


@dataclass(frozen=True, eq=False)
class Group:
    """Units of one kind: coupled axes that lose the same units together.

    Args:
        name: the first module that writes the units, or the parameter's name for single weights.
        units: how many.
        members: every axis on which the units lie.
        constant: ``True`` where a unit, once nothing writes it, still reads as a constant other
            than zero, shape ``[units]``; ``None`` when that holds for no unit.
        exposed: ``True`` where something other than a weight reads a unit, like a sum over
            channels, so that it still counts once no weight reads it, shape ``[units]``; ``None``
            when that holds for no unit.
        granule: the number of units that stay is a multiple of this: a kernel takes no other size.
        apart: computed values are multiplied for each unit apart, as for heads of attention, also
            where one of the two is the same for all units.
    """

    name: str
    units: int
    members: tuple[Member, ...]
    constant: Tensor | None = None
    exposed: Tensor | None = None
    granule: int = 1
    apart: bool = False

    @property
    def parameters(self) -> tuple[Member, ...]:
        """The members that lie on parameters."""
        return tuple(m for m in self.members if not m.buffer)

    @property
    def zeroed(self) -> tuple[Member, ...]:
        """The members that are zeroed with their unit."""
        return tuple(m for m in self.members if m.side != "shape")

    @property
    def writers(self) -> tuple[str, ...]:
        """Names of the modules whose parameters write the units, in order, once each."""
        modules = [m.axis.tensor.rpartition(".")[0] for m in self.parameters if m.side == "out"]
        return tuple(dict.fromkeys(modules))

    @property
    def single_weights(self) -> bool:
        """Whether every unit is one element of one parameter."""
        return all(m.axis.dim < 0 and m.width == 1 for m in self.members)


@dataclass(frozen=True, eq=False)
class Structure:
    """The units of a model that a forward pass shows.

    Args:
        coupled: the groups of coupled axes.
        branches: the residual branches, each a group of one unit.
        mixtures: the mixtures of experts; every expert is a unit.
    """

    coupled: tuple[Group, ...] = ()
    branches: tuple[Group, ...] = ()
    mixtures: tuple[Group, ...] = ()


@dataclass(frozen=True)
class GroupCount:
    """How many units of a group are removed.

    Args:
        name: of the group.
        units: how many it has.
        removed: how many of them are removed.
    """

    name: str
    units: int
    removed: int

    @property
    def kept(self) -> int:
        """Units that stay."""
        return self.units - self.removed
