"""Align: the coupling of values that meet element by element.

Operands are broadcast against each other; where labels of two operands lie on the same dimension
they are tied, and where a label meets an operand that has a size but no label there, it cannot
shrink, unless what it meets is picked from that operand. Normalisations, biases, plain arithmetic
and products are all uses of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from torch import Tensor

from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Propagation

Tie = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True, eq=False)
class Operand:
    """A value that takes part, with its planes."""

    shape: tuple[int, ...]
    planes: list[Plane]


@dataclass(frozen=True, eq=False)
class Joined:
    """Planes of several operands that lie on the same dimensions.

    Args:
        plane: the ids that they have in common.
        zero: by the index of each operand that has such a plane, whether it is zero at a removed
            coordinate.
        fixed: by the same index, the weights that make it zero where they are: see `Plane.fixed`.
    """

    plane: Plane
    zero: dict[int, bool]
    fixed: dict[int, frozenset[str]]


Picks = Callable[[Joined, int], bool]


def align(
    p: Propagation,
    operands: Sequence[Operand],
    is_zero: Callable[[list[bool]], bool | None],
    is_picked: Picks = lambda one, index: False,
) -> list[Plane]:
    """Tie the labels of operands that are combined element by element.

    Args:
        p: the propagation at hand.
        operands: what is combined, in the order of the operation's arguments.
        is_zero: given for each operand whether it is zero at a removed coordinate, tells whether
            the result is; None if it is no finite number.
        is_picked: tells of an operand without labels, by its index, whether what meets kept
            coordinates can be picked from it where the operation is called.

    Returns:
        The planes of the result, of the broadcast rank.
    """
    planes = []
    for one in join(p, operands, "meets a value that cannot shrink", p.tie, is_picked):
        zero = is_zero([one.zero.get(index, False) for index in range(len(operands))])
        if zero is None:
            p.freeze(one.plane.ids, "no finite number where a unit is zeroed")
        else:
            fixed = _fixed(p, one, is_zero, len(operands))
            if fixed and not p.on_weights and (p.adds or not zero):
                p.labels.added |= fixed
                zero = True
            planes.append(replace(one.plane, zero=zero, fixed=fixed))
    return planes


def _fixed(
    p: Propagation, one: Joined, is_zero: Callable[[list[bool]], bool | None], operands: int
) -> frozenset[str]:
    """Return the weights that must be zeroed with a unit for the result to be zero, if any do."""
    fixed = frozenset[str]().union(*one.fixed.values())
    if not fixed:
        return fixed
    zero = is_zero([one.zero.get(i, False) or bool(one.fixed.get(i)) for i in range(operands)])
    if zero is None:
        p.labels.unchangeable |= fixed
    return fixed if zero else frozenset()


def join(
    p: Propagation,
    operands: Sequence[Operand],
    reason: str,
    tie: Tie,
    is_picked: Picks = lambda one, index: False,
) -> list[Joined]:
    """Tie the labels of operands that are combined element by element.

    Args:
        p: the propagation at hand.
        operands: what is combined.
        reason: why a label cannot shrink that meets an operand without one.
        tie: how ids of two operands are tied.
        is_picked: as in `align`.

    Returns:
        What lies on the same dimensions, of the broadcast rank.
    """
    rank = max(len(operand.shape) for operand in operands)
    padded = [_pad_rank(operand, rank) for operand in operands]
    joined: list[Joined] = []
    for index, operand in enumerate(padded):
        for plane in operand.planes:
            new = Joined(plane, {index: plane.zero}, {index: plane.fixed})
            joined = _add(p, joined, new, tie)
    met = [_meet_unlabelled(p, one, padded, reason, is_picked) for one in joined]
    return [one for one in met if one is not None]


def _pad_rank(operand: Operand, rank: int) -> Operand:
    lead = (1,) * (rank - len(operand.shape))
    planes = [
        replace(plane, ids=plane.ids.reshape(*lead, *plane.ids.shape)) for plane in operand.planes
    ]
    return Operand((*lead, *operand.shape), planes)


def _add(p: Propagation, joined: list[Joined], new: Joined, tie: Tie) -> list[Joined]:
    """Join one more to those that are there, and return them all."""
    result: list[Joined] = []
    left: Joined | None = new
    for one in joined:
        shared = one.plane.varying & left.plane.varying if left is not None else set()
        if left is None or not shared:
            result.append(one)
        elif left.zero.keys() <= one.zero.keys():
            p.freeze(left.plane.ids, "a second label on one dimension")
            left = None
            result.append(one)
        elif _leads(one.plane, shared) and _leads(left.plane, shared):
            left = _tied(one, left, shared, tie)
        else:
            # They share trailing dimensions only: each keeps what leads, like heads that are all
            # scaled by one vector over their features.
            result += _without(p, one, shared)
            left = next(iter(_without(p, left, shared)), None)
    return result if left is None else [*result, left]


def _leads(plane: Plane, dims: AbstractSet[int]) -> bool:
    """Tell whether a plane may lose all variation but that along ``dims``."""
    return plane.uniform or min(plane.varying) in dims


def _tied(one: Joined, other: Joined, shared: AbstractSet[int], tie: Tie) -> Joined:
    tie(one.plane.ids, other.plane.ids)
    # Along a dimension that only one of the two knows, everything is tied now.
    ids = one.plane.ids
    for dim in one.plane.varying - shared:
        ids = ids.narrow(dim, 0, 1)
    zero = {i: other.zero.get(i, True) and one.zero.get(i, True) for i in one.zero | other.zero}
    uniform = one.plane.uniform and other.plane.uniform
    fixed = one.fixed | other.fixed
    for i in one.fixed.keys() & other.fixed.keys():
        both = one.fixed[i] and other.fixed[i]
        fixed[i] = one.fixed[i] | other.fixed[i] if both else frozenset()
    return Joined(Plane(ids, zero=False, uniform=uniform), zero, fixed)


def _without(p: Propagation, one: Joined, dims: AbstractSet[int]) -> list[Joined]:
    fused = p.fuse(one.plane, dims, "shared by all along a leading dimension")
    return [] if fused is None else [replace(one, plane=fused)]


def _meet_unlabelled(
    p: Propagation, one: Joined, operands: Sequence[Operand], reason: str, is_picked: Picks
) -> Joined | None:
    plane: Plane | None = one.plane
    for index, operand in enumerate(operands):
        if plane is not None and index not in one.zero:
            sized = {dim for dim in plane.varying if operand.shape[dim] > 1}
            if len(sized) != 1 or sized != plane.varying or not is_picked(one, index):
                plane = p.fuse(plane, sized, reason)
    return None if plane is None else replace(one, plane=plane)
