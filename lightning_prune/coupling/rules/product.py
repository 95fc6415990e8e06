"""Products that sum over dimensions, in the notation of an Einstein sum.

Every matrix product is one: values are multiplied element by element and summed over the letters
that the result does not have. `product` is what the rules of such operations have in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lightning_prune.coupling.align import Joined, Operand, join
from lightning_prune.coupling.graph import Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation

Letters = Sequence[str]


@dataclass(frozen=True, eq=False)
class Factor:
    """A value that takes part in a product.

    Args:
        value: its shape and planes.
        letters: the name of each of its dimensions.
        weight: the value itself if it is computed from parameters and buffers alone.
    """

    value: Operand
    letters: Letters
    weight: Ref | None = None


def factor(p: Propagation, ref: Ref, letters: Letters) -> Factor:
    """Return a recorded value as a factor, its dimensions named by ``letters``."""
    return Factor(Operand(p.shape(ref), p.planes(ref)), letters, weight(p, ref))


def weight(p: Propagation, ref: Ref) -> Ref | None:
    """Return a value if it is computed from parameters and buffers alone, else None."""
    return ref if p.is_static(ref) else None


def product(p: Propagation, factors: Sequence[Factor], out: Letters) -> Planes:
    """Couple a product: what shares a letter is tied, and a removed coordinate must add nothing.

    A coordinate of a letter that is summed over is read by the last weight that has it. If none
    has, it is enough that one factor is zero there. Where labels vary along letters that stay and
    letters that are summed over, those that stay are kept.

    Args:
        p: the propagation at hand.
        factors: what is multiplied.
        out: the letters of the result; all others are summed over.

    Returns:
        The planes of the result.
    """
    letters = list(dict.fromkeys([*out, *(x for one in factors for x in one.letters)]))
    readers = {
        letters.index(x): i for i, one in enumerate(factors) if one.weight for x in one.letters
    }
    operands = [_spread(one, letters) for one in factors]
    _price(p, factors, operands)
    _take_sides(p, factors, operands, len(out), readers)
    _mark_apart(p, factors, operands, letters[: len(out)])
    # Not `p.tie`: a weight that reads another one is on the other side of the unit.
    joined = join(p, operands, "multiplied with a value that cannot shrink", p.labels.tie)
    planes = [plane for one in joined for plane in _sum(p, one, len(out), readers)]
    lead = [slice(None)] * len(out) + [0] * (len(letters) - len(out))
    return [Plane(plane.ids[tuple(lead)], plane.zero) for plane in planes]


def matrix_product(
    p: Propagation, first: Operand, second: Operand, weights: Sequence[Ref | None] = (None, None)
) -> Planes:
    """Couple a product of two matrices, of vectors, or of batches of matrices.

    Args:
        p: the propagation at hand.
        first: of shape ``[..., n, i]`` or ``[i]``.
        second: of shape ``[..., i, o]`` or ``[i]``.
        weights: each of the two, if it is computed from parameters and buffers alone.

    Returns:
        The planes of the result.
    """
    ranks = len(first.shape), len(second.shape)
    batch = [f"batch {dim}" for dim in range(max(ranks) - 2)]
    lead = [batch[len(batch) - max(rank - 2, 0) :] for rank in ranks]
    rows = ["n"] if ranks[0] > 1 else []
    columns = ["o"] if ranks[1] > 1 else []
    factors = [
        Factor(first, [*lead[0], *rows, "i"], weights[0]),
        Factor(second, [*lead[1], "i", *columns], weights[1]),
    ]
    return product(p, factors, [*batch, *rows, *columns])


def _spread(one: Factor, letters: Letters) -> Operand:
    """Return a factor with one dimension for each letter, of size 1 where it has none."""
    own = list(one.letters)
    dims = [own.index(letter) for letter in letters if letter in own]

    def spread(shape: Sequence[int]) -> list[int]:
        return [shape[own.index(letter)] if letter in own else 1 for letter in letters]

    planes = [
        Plane(plane.ids.permute(dims).reshape(spread(plane.ids.shape)), plane.zero)
        for plane in one.value.planes
    ]
    return Operand(tuple(spread(one.value.shape)), planes)


def _price(p: Propagation, factors: Sequence[Factor], operands: Sequence[Operand]) -> None:
    """Each element of the last weight is used once for each coordinate of the other letters."""
    weights = [one.weight for one in factors if one.weight is not None]
    if weights:
        sizes = torch.broadcast_shapes(*(one.shape for one in operands))
        p.price(weights[-1], math.prod(sizes) / max(math.prod(p.shape(weights[-1])), 1))


def _take_sides(
    p: Propagation,
    factors: Sequence[Factor],
    operands: Sequence[Operand],
    kept: int,
    readers: dict[int, int],
) -> None:
    """Say which axes of weights read their units and which write them."""
    computes_a_weight = all(one.weight for one in factors)
    for index, operand in enumerate(operands):
        for plane in operand.planes if factors[index].weight else ():
            first = min(plane.varying)
            if first >= kept and readers[first] == index:
                p.labels.read(plane.ids)
            elif not computes_a_weight:
                p.labels.write(plane.ids)


def _mark_apart(
    p: Propagation, factors: Sequence[Factor], operands: Sequence[Operand], kept: Letters
) -> None:
    """Say along which letters computed values meet for each coordinate apart, like heads.

    All factors have these letters, or one factor alone has them beside a letter for its rows, like
    queries that share their keys. Where the two are merged, ids recur along the letter.
    """
    if any(one.weight for one in factors):
        return
    shared = {dim for dim in range(len(kept)) if all(one.shape[dim] > 1 for one in operands)}
    for index, operand in enumerate(operands):
        own = {dim for dim in range(len(kept)) if _has_alone(factors, index, kept[dim])}
        for plane in operand.planes:
            recurs = plane.ids.unique().numel() < plane.ids.numel()
            apart = shared | own if len(own) > 1 or recurs else shared
            if apart & plane.varying:
                p.labels.multiply_apart(plane.ids)


def _has_alone(factors: Sequence[Factor], index: int, letter: str) -> bool:
    """Tell whether only one of all factors has a letter, or more than one coordinate along it."""
    sizes = [
        one.value.shape[list(one.letters).index(letter)] if letter in one.letters else 0
        for one in factors
    ]
    own = sizes.pop(index)
    return own > max(sizes, default=2) < 2


def _sum(p: Propagation, one: Joined, kept: int, readers: dict[int, int]) -> Planes:
    """Sum over all dimensions from ``kept`` on and return what is left of a plane."""
    plane, first = one.plane, min(one.plane.varying)
    if first >= kept:
        _read(p, one, readers.get(first, -1))
        return []
    fused = p.fuse(plane, {dim for dim in plane.varying if dim >= kept}, "summed over")
    return [] if fused is None else [Plane(fused.ids, any(one.zero.values()))]


def _read(p: Propagation, one: Joined, reader: int) -> None:
    """Say that a coordinate is summed over: a removed one must add nothing."""
    others = any(zero for index, zero in one.zero.items() if index != reader)
    if reader in one.zero:
        _mark_zeros(p, Plane(one.plane.ids, one.zero[reader]), others)
    elif others:
        p.labels.expose(one.plane.ids)
    else:
        p.freeze(one.plane.ids, "a removed coordinate would add a constant")


def _mark_zeros(p: Propagation, weight: Plane, zero: bool) -> None:
    """Nothing is read of a removed unit as long as it or the weight is zero there."""
    if not (zero or weight.zero):
        p.freeze(weight.ids, "read by a weight that is not zero where it is removed")
    elif not zero:
        p.labels.reads_constant(weight.ids)
    elif not weight.zero:
        p.labels.expose(weight.ids)


def read(p: Propagation, planes: Planes, dim: int, weight: Plane | None) -> Planes:
    """Say that a weight reads a dimension of a value, position by position.

    Args:
        p: the propagation at hand.
        planes: of the value.
        dim: the dimension that is summed over.
        weight: the weight's reading axis, ids of shape ``[size of dim]``; it is zero where its
            parameters that read are zeroed.

    Returns:
        The planes that do not lie on ``dim``.
    """
    planes = p.keep_leading(planes, dim)
    lines = [plane for plane in planes if dim in plane.varying]
    if weight is not None:
        p.labels.read(weight.ids)
        if not lines:
            p.freeze(weight.ids, "reads a dimension that cannot shrink")
    for plane in lines:
        fused = p.fuse(plane, plane.varying - {dim}, "varies along several dimensions")
        if fused is not None and weight is None:
            p.freeze(fused.ids, "read by a weight that cannot shrink")
        elif fused is not None and weight is not None:
            p.labels.tie(fused.ids.reshape(-1), weight.ids)
            _mark_zeros(p, weight, fused.zero)
    return [plane for plane in planes if dim not in plane.varying]
