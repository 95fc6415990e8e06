"""Align: the coupling of values that meet element by element.

Operands are broadcast against each other; where labels of two operands lie on the same dimension
they are tied, and where a label meets an operand that has a size but no label there, it cannot
shrink. Normalisations, biases and plain arithmetic are all uses of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Propagation


@dataclass(frozen=True, eq=False)
class Operand:
    """A value that takes part, with its planes."""

    shape: tuple[int, ...]
    planes: list[Plane]


@dataclass(eq=False)
class _Joined:
    """Planes of several operands that lie on the same dimensions."""

    plane: Plane
    zero: dict[int, bool] = field(default_factory=dict)


def align(
    p: Propagation, operands: Sequence[Operand], is_zero: Callable[[list[bool]], bool | None]
) -> list[Plane]:
    """Tie the labels of operands that are combined element by element.

    Args:
        p: the propagation at hand.
        operands: what is combined, in the order of the operation's arguments.
        is_zero: given for each operand whether it is zero at a removed coordinate, tells whether
            the result is; None if it is no finite number.

    Returns:
        The planes of the result, of the broadcast rank.
    """
    rank = max(len(operand.shape) for operand in operands)
    padded = [_pad_rank(operand, rank) for operand in operands]
    joined: list[_Joined] = []
    for index, operand in enumerate(padded):
        for plane in operand.planes:
            _join(p, joined, index, plane)
    planes = []
    for one in joined:
        zero = is_zero([one.zero.get(i, False) for i in range(len(padded))])
        met = _meet_unlabelled(p, one, padded)
        if zero is None and met is not None:
            p.freeze(met.ids, "no finite number where a unit is zeroed")
        elif met is not None:
            planes.append(replace(met, zero=bool(zero)))
    return planes


def _pad_rank(operand: Operand, rank: int) -> Operand:
    lead = (1,) * (rank - len(operand.shape))
    planes = [
        replace(plane, ids=plane.ids.reshape(*lead, *plane.ids.shape)) for plane in operand.planes
    ]
    return Operand((*lead, *operand.shape), planes)


def _join(p: Propagation, joined: list[_Joined], index: int, plane: Plane) -> None:
    for one in joined:
        shared = one.plane.varying & plane.varying
        if shared:
            p.tie(one.plane.ids, plane.ids)
            # Along a dimension that only one of the two knows, everything is tied now.
            ids = one.plane.ids
            for dim in one.plane.varying - shared:
                ids = ids.narrow(dim, 0, 1)
            one.plane = Plane(ids, zero=False)
            one.zero[index] = plane.zero and one.zero.get(index, True)
            return
    joined.append(_Joined(plane, {index: plane.zero}))


def _meet_unlabelled(p: Propagation, one: _Joined, operands: Sequence[Operand]) -> Plane | None:
    plane: Plane | None = one.plane
    for index, operand in enumerate(operands):
        if plane is not None and index not in one.zero:
            sized = {dim for dim in plane.varying if operand.shape[dim] > 1}
            plane = p.fuse(plane, sized, "meets a value that cannot shrink")
    return plane
