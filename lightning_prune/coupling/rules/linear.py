"""Rules for products of matrices, Einstein sums and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule
from lightning_prune.coupling.rules.product import Factor, factor, matrix_product, product, weight


@rule("aten::linear")
def linear(p: Propagation, node: Node) -> list[Planes]:
    # y[..., o] = x[..., i] weight[o, i] + bias[o]   ties: x.-1 ~ weight.1, weight.0 ~ bias.0 ~ y.-1
    x, weight, bias = *node.args[:2], node.argument("bias")
    lead = [f"lead {dim}" for dim in range(len(p.shape(x)) - 1)]
    written = ["o"] if len(p.shape(weight)) > 1 else []
    out = [*lead, *written]
    factors = [factor(p, x, [*lead, "i"]), factor(p, weight, [*written, "i"])]
    return [_plus(p, node, bias, product(p, factors, out))]


@rule("aten::matmul", "aten::mm", "aten::bmm", "aten::mv")
def matmul(p: Propagation, node: Node) -> list[Planes]:
    # y[b, n, o] = a[b, n, i] c[b, i, o]   ties: a.i ~ c.i, a.b ~ c.b ~ y.b, a.n ~ y.n, c.o ~ y.o
    a, c = node.args[:2]
    return [_matrices(p, a, c)]


@rule("aten::addmm", "aten::baddbmm", "aten::addmv")
def added_product(p: Propagation, node: Node) -> list[Planes]:
    # y[b, n, o] = bias[b, n, o] + a[b, n, i] c[b, i, o]   ties: as a product and a sum
    bias, a, c = node.args[:3]
    return [_plus(p, node, bias, _matrices(p, a, c))]


@rule("aten::addbmm")
def summed_products(p: Propagation, node: Node) -> list[Planes]:
    # y[n, o] = bias[n, o] + sum over b of a[b, n, i] c[b, i, o]   ties: as a product and a sum
    bias, a, c = node.args[:3]
    factors = [factor(p, a, "bni"), factor(p, c, "bio")]
    return [_plus(p, node, bias, product(p, factors, "no"))]


@rule("aten::einsum")
def einsum(p: Propagation, node: Node) -> list[Planes]:
    # y[letters of y] = sum over the other letters of a[letters of a] b[letters of b] ...
    # ties: every letter with itself
    equation, refs = node.args[:2]
    terms, out = _parse(equation, [len(p.shape(ref)) for ref in refs])
    if any(len(set(term)) < len(term) for term in [*terms, out]):
        p.freeze_all(node.inputs, "a diagonal")
        return []
    factors = [factor(p, ref, term) for ref, term in zip(refs, terms, strict=True)]
    return [product(p, factors, out)]


@rule("aten::bilinear")
def bilinear(p: Propagation, node: Node) -> list[Planes]:
    # y[..., o] = a[..., i] weight[o, i, j] c[..., j] + bias[o]
    # ties: a.-1 ~ weight.1, c.-1 ~ weight.2, weight.0 ~ bias.0 ~ y.-1
    a, c, weight, bias = *node.args[:3], node.argument("bias")
    lead = [f"lead {dim}" for dim in range(len(p.shape(a)) - 1)]
    factors = [
        factor(p, a, [*lead, "i"]),
        factor(p, c, [*lead, "j"]),
        factor(p, weight, "oij"),
    ]
    return [_plus(p, node, bias, product(p, factors, [*lead, "o"]))]


@rule("aten::_grouped_mm")
def grouped_product(p: Propagation, node: Node) -> list[Planes]:
    # y[n, o] = a[n, i] c[group of n, i, o]   ties: a.i ~ c.i, c.o ~ y.o; groups and rows stay
    # The kernel takes rows of multiples of 16 bytes only.
    a, c = node.args[:2]
    ranks = len(p.shape(a)), len(p.shape(c))
    if ranks not in _GROUPED or node.argument("bias") is not None:
        p.freeze_all(node.inputs, "this form of a product in groups")
        return []
    p.freeze_all(node.inputs[2:], "used as an index")
    terms, by_data = _GROUPED[ranks]
    factors = [
        _without_groups(p, ref, term, by_data) for ref, term in zip((a, c), terms, strict=True)
    ]
    for ref in (a, c):
        for plane in p.planes(ref):
            p.labels.granular(plane.ids, max(1, 16 // p.dtype(ref).itemsize))
    planes = product(p, factors, "no")
    if len(p.shape(node.results[0])) == 3:
        planes = [replace(plane, ids=plane.ids.unsqueeze(0)) for plane in planes]
    return [planes]


_GROUPED = {
    (2, 3): (("ni", "gio"), "gn"),
    (3, 2): (("gni", "io"), "go"),
    (2, 2): (("ni", "io"), "i"),
}
"""By the ranks of two matrices: the letters of their dimensions, and those grouped by data."""


def _without_groups(p: Propagation, ref: Ref, term: str, by_data: str) -> Factor:
    dims = {term.index(letter) for letter in by_data if letter in term}
    planes = p.fuse_all(p.planes(ref), dims, "rows are grouped by data")
    whole = factor(p, ref, term.replace("g", ""))
    if "g" not in term:
        return replace(whole, value=Operand(p.shape(ref), planes))
    one = [replace(plane, ids=plane.ids[0]) for plane in planes]
    return replace(whole, value=Operand(p.shape(ref)[1:], one))


@rule("aten::embedding", moves=True)
def embedding(p: Propagation, node: Node) -> list[Planes]:
    # y[..., e] = weight[index[...], e]   ties: weight.1 ~ y.-1; the rows are picked by data
    weight, index = node.args[:2]
    p.freeze_all([index], "used as an index")
    planes = p.fuse_all(p.planes(weight), {0}, "rows are picked by data")
    for plane in planes:
        p.labels.write(plane.ids)
    lead = [1] * len(p.shape(index))
    moved = [replace(plane, ids=plane.ids.reshape(*lead, -1)) for plane in planes]
    # Rows for positions are fixed values; those that data pick, as for tokens, are not.
    return [moved if p.is_static(index) else [plane.unfixed() for plane in moved]]


def _matrices(p: Propagation, first: Ref, second: Ref) -> Planes:
    left, right = (Operand(p.shape(ref), p.planes(ref)) for ref in (first, second))
    return matrix_product(p, left, right, [weight(p, first), weight(p, second)])


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """Return the letters of every operand of an Einstein sum, and those of its result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = [term.partition("...") for term in left.split(",")]
    dots = [
        rank - len(a) - len(b) if mid else 0 for (a, mid, b), rank in zip(parts, ranks, strict=True)
    ]
    rest = [f"dots {dim}" for dim in range(max(dots))]
    terms = [
        [*before, *rest[len(rest) - count :], *after]
        for (before, _, after), count in zip(parts, dots, strict=True)
    ]
    if arrow:
        before, mid, after = right.partition("...")
        return terms, [*before, *(rest if mid else []), *after]
    letters = left.replace("...", "").replace(",", "")
    return terms, [*rest, *sorted(x for x in set(letters) if letters.count(x) == 1)]


def _plus(p: Propagation, node: Node, bias: Ref | None, planes: Planes) -> Planes:
    """Add a bias to the result of a product."""
    if bias is None:
        return planes
    result = Operand(p.shape(node.results[0]), planes)
    return align(p, [result, Operand(p.shape(bias), p.planes(bias))], all)


def carried(planes: Planes, bias: Ref | None) -> Planes:
    """Return the planes of dimensions that a product with a weight leaves alone.

    Args:
        planes: those of the value that is read.
        bias: what is added everywhere, also where a coordinate is removed; or None.

    Returns:
        The planes of the result.
    """
    return [replace(q, zero=q.zero and bias is None) for q in planes]


def with_bias(
    p: Propagation, writes: Plane | None, bias: Ref | None, rank: int, dim: int
) -> Planes:
    """Return the plane that a weight writes on dimension ``dim``, tied to its bias.

    Args:
        p: the propagation at hand.
        writes: the weight's writing axis, ids of shape ``[size]``.
        bias: a vector, or None.
        rank: rank of the output.
        dim: the dimension of the output that is written.

    Returns:
        No plane or one.
    """
    if writes is None:
        if bias is not None:
            p.freeze_all([bias], "added to an output that cannot shrink")
        return []
    p.labels.write(writes.ids)
    operands = [Operand(tuple(writes.ids.shape), [writes])]
    if bias is not None:
        operands.append(Operand(p.shape(bias), p.planes(bias)))
    shape = [-1 if d == dim else 1 for d in range(rank)]
    return [
        Plane(plane.ids.reshape(-1).reshape(shape), plane.zero) for plane in align(p, operands, all)
    ]
