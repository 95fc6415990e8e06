"""Rules for normalisations over a batch."""

from __future__ import annotations

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule


@rule("aten::batch_norm")
def batch_norm(p: Propagation, node: Node) -> list[Planes]:
    # y[b, c, ...] = (x[b, c, ...] - mean[c]) / sqrt(var[c] + eps) w[c] + bias[c]
    # ties: x.1 ~ mean.0 ~ var.0 ~ w.0 ~ bias.0 ~ y.1; positions stay, for training needs them all
    x, weight, bias, mean, var = node.args[:5]
    rank = len(p.shape(x))
    planes = p.fuse_all(p.planes(x), set(range(rank)) - {1}, "in the statistics of a batch")
    vectors = [ref for ref in (weight, bias, mean, var) if ref is not None]
    operands = [Operand(p.shape(x), planes), *(_on_channel(p, ref, rank) for ref in vectors)]
    shifted_to_zero = weight is not None and bias is not None
    return [align(p, operands, lambda zero: shifted_to_zero and zero[1] and zero[2])]


def _on_channel(p: Propagation, vector: Ref, rank: int) -> Operand:
    shape = tuple(p.shape(vector)[0] if dim == 1 else 1 for dim in range(rank))
    return Operand(shape, [Plane(q.ids.reshape(shape), q.zero) for q in p.planes(vector)])
