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
    ids = one.plane.ids
    if not any(one.zero.values()):
        read = reader in one.zero
        p.freeze(
            ids,
            "read by a weight that is not zero where it is removed"
            if read
            else "a removed coordinate would add a constant",
        )
    elif not one.zero.get(reader, False) or (p.on_weights and not all(one.zero.values())):
        p.expose(ids)
    elif not any(zero for index, zero in one.zero.items() if index != reader):
        p.labels.reads_constant(ids)
