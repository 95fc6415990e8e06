"""Rules for distances between vectors."""

from __future__ import annotations

from dataclasses import replace

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::cdist", "aten::_cdist_forward", "aten::_euclidean_dist")
def distances(p: Propagation, node: Node) -> list[Planes]:
    # y[b, n, m] = |a[b, n, i] - c[b, m, i]|
    # ties: a.i ~ c.i, a.b ~ c.b ~ y.b, a.n ~ y.n, c.m ~ y.m; a removed a.i is zero, and so is c.i
    a, c = node.args[:2]
    last = len(p.shape(node.results[0]))
    out = []
    for plane in align(p, [_unsqueezed(p, a, -2), _unsqueezed(p, c, -3)], all):
        if plane.varying == {last} and plane.zero:
            p.expose(plane.ids)
        else:
            kept = p.fuse_all([plane], {last}, "in a distance where it is not zero")
            out += [replace(q, ids=q.ids[..., 0], zero=False) for q in kept]
    return [out]


def _unsqueezed(p: Propagation, ref: Ref, dim: int) -> Operand:
    shape = list(p.shape(ref))
    shape.insert(len(shape) + dim + 1, 1)
    return Operand(tuple(shape), [replace(q, ids=q.ids.unsqueeze(dim)) for q in p.planes(ref)])
