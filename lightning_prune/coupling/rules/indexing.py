"""Rules for elements picked, placed or ordered by data: indices, masks, sorting.

The dimensions along which data decide stay; the others carry their labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from lightning_prune.coupling.align import Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.labels import Plane
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule

_PICKED = "elements are picked by data"


@dataclass(frozen=True)
class _Selection:
    """What ``x[indices]`` does to dimensions.

    Args:
        dims: of ``x`` that are indexed.
        start: where the dimensions of the indices come in the result.
        rank: how many those are.
    """

    dims: tuple[int, ...]
    start: int
    rank: int

    @classmethod
    def of(cls, p: Propagation, indices: Iterable[Ref | None]) -> _Selection:
        dims: list[int] = []
        masks, shapes, position = False, [], 0
        for index in indices:
            if index is None:
                position += 1
                continue
            is_mask = p.dtype(index) in {torch.bool, torch.uint8}
            width = len(p.shape(index)) if is_mask else 1
            dims += range(position, position + width)
            position += width
            masks = masks or is_mask
            shapes += [] if is_mask else [len(p.shape(index))]
        adjacent = dims == list(range(dims[0], dims[0] + len(dims))) if dims else True
        rank = max([*shapes, int(masks)])
        return cls(tuple(dims), dims[0] if dims and adjacent else 0, rank)

    def moved(self, plane: Plane) -> Plane:
        """Return a plane of ``x`` that does not vary along indexed dimensions as one of ``y``."""
        sizes = [n for d, n in enumerate(plane.ids.shape) if d not in self.dims]
        sizes[self.start : self.start] = [1] * self.rank
        return replace(plane, ids=plane.ids.reshape(sizes))


@rule("aten::index", "aten::_unsafe_index", moves=True)
def index(p: Propagation, node: Node) -> list[Planes]:
    # y[..., k, ...] = x[..., indices[k], ...]   ties: y.d ~ x.d for the dims without an index
    x, indices = node.args
    selection = _Selection.of(p, indices)
    p.freeze_all([ref for ref in indices if ref is not None], "used as an index")
    planes = p.fuse_all(p.planes(x), selection.dims, _PICKED)
    return [[selection.moved(plane) for plane in planes]]


@rule("aten::index_put", "aten::_unsafe_index_put")
def index_put(p: Propagation, node: Node) -> list[Planes]:
    # y = x; y[..., indices[k], ...] = values[..., k, ...]
    # ties: y.d ~ x.d ~ values.d for the dims without an index
    x, indices, values = node.args[:3]
    selection = _Selection.of(p, indices)
    p.freeze_all([ref for ref in indices if ref is not None], "used as an index")
    planes = p.fuse_all(p.planes(x), selection.dims, _PICKED)
    kept = [n for d, n in enumerate(p.shape(x)) if d not in selection.dims]
    kept[selection.start : selection.start] = [1] * selection.rank
    target = Operand(tuple(kept), [selection.moved(plane) for plane in planes])
    written = range(selection.start, selection.start + selection.rank)
    lead = len(p.shape(values)) - len(kept)
    own = p.fuse_all(p.planes(values), {d + lead for d in written}, "placed by data")
    align(p, [target, Operand(p.shape(values), own)], all)
    zero = all(plane.zero for plane in own) and bool(own)
    return [[replace(plane, zero=plane.zero and zero, uniform=False) for plane in planes]]


@rule("aten::index_select", moves=True)
def index_select(p: Propagation, node: Node) -> list[Planes]:
    # y[..., k, ...] = x[..., picks[k], ...]   ties: y.d ~ x.d for the other dims
    x, dim, picks = node.args
    p.freeze_all([picks], "used as an index")
    return [p.fuse_all(p.planes(x), _dims(p, x, dim), _PICKED)]


@rule("aten::gather")
def gather(p: Propagation, node: Node) -> list[Planes]:
    # y[..., k, ...] = x[..., picks[..., k, ...], ...]   ties: y.d ~ x.d ~ picks.d for other dims
    x, dim, picks = node.args[:3]
    along = _dims(p, x, dim)
    source = _matching(p, x, p.shape(picks), along)
    operands = [source, Operand(p.shape(picks), p.planes(picks))]
    return [align(p, operands, lambda zero: zero[0])]


@rule("aten::scatter", "aten::scatter_add", "aten::scatter_reduce")
def scatter(p: Propagation, node: Node) -> list[Planes]:
    # y = x; y[..., picks[..., k, ...], ...] = values[..., k, ...]
    # ties: x.d ~ picks.d ~ values.d ~ y.d
    x, dim, picks = node.args[:3]
    along = _dims(p, x, dim)
    values = [ref for ref in node.inputs if ref not in {x, picks} and p.shape(ref)]
    parts = [_matching(p, ref, p.shape(picks), along) for ref in (x, picks, *values)]
    planes = align(p, parts, lambda zero: zero[0] and all(zero[2:]) and bool(values))
    return [planes]


@rule("aten::index_add", "aten::index_copy", "aten::index_fill", "aten::index_reduce")
def index_add(p: Propagation, node: Node) -> list[Planes]:
    # y = x; y[..., picks[k], ...] += values[..., k, ...]
    # ties: x.d ~ values.d ~ y.d for the other dims
    x, dim, picks, values = node.args[:4]
    p.freeze_all([picks], "used as an index")
    refs = [x, values] if isinstance(values, Ref) and p.shape(values) else [x]
    sizes = [1 if d in _dims(p, x, dim) else n for d, n in enumerate(p.shape(x))]
    parts = [_matching(p, ref, tuple(sizes), _dims(p, x, dim)) for ref in refs]
    return [align(p, parts, lambda zero: all(zero) and len(refs) > 1)]


@rule("aten::select_scatter", "aten::slice_scatter")
def place(p: Propagation, node: Node) -> list[Planes]:
    # y = x; y[..., index, ...] = values[...]   ties: x.d ~ values.d ~ y.d for the other dims
    x, values, dim = node.args[0], node.args[1], node.argument("dim", 0)
    (along,) = _dims(p, x, dim)
    planes = p.planes(values)
    if node.name == "aten::select_scatter":
        planes = [replace(plane, ids=plane.ids.unsqueeze(along)) for plane in planes]
    sizes = tuple(1 if d == along else n for d, n in enumerate(p.shape(x)))
    parts = [
        Operand(sizes, p.fuse_all(own, {along}, "written in part along a labelled dimension"))
        for own in (p.planes(x), planes)
    ]
    return [align(p, parts, all)]


@rule("aten::masked_select", "aten::masked_scatter", "aten::nonzero", "aten::argwhere")
def pick(p: Propagation, node: Node) -> list[Planes]:
    # y = the elements (or the positions) for which something holds   ties: nothing moves
    p.freeze_all(node.inputs, _PICKED)
    return []


@rule(
    *(
        f"aten::{name}"
        for name in (
            "topk sort argsort msort kthvalue median nanmedian mode cummax cummin cumsum cumprod "
            "logcumsumexp"
        ).split()
    )
)
def order(p: Propagation, node: Node) -> list[Planes]:
    # y[..., k, ...] = f(x[..., :, ...])   ties: y.d ~ x.d for the other dims; the dim stays
    x = node.args[0]
    rank = len(p.shape(x))
    dim = node.argument("dim")
    dims = set(range(rank)) if dim is None else _dims(p, x, dim)
    planes = p.fuse_all(p.planes(x), dims, "ordered along a labelled dimension")
    dropped = len(p.shape(node.results[0])) < rank
    out = []
    for plane in planes:
        ids = plane.ids.squeeze(tuple(dims)) if dropped else plane.ids
        out.append(replace(plane, ids=ids, zero=plane.zero and node.name in _KEEP_ZERO))
    indices = [replace(plane, zero=False) for plane in out]
    return [indices if node.name == "aten::argsort" else out, indices]


_KEEP_ZERO = frozenset(
    f"aten::{name}"
    for name in (
        "topk sort msort kthvalue median nanmedian mode cummax cummin cumsum cumprod"
    ).split()
)


@rule("aten::one_hot")
def one_hot(p: Propagation, node: Node) -> list[Planes]:
    # y[..., k] = 1 if x[...] = k else 0   ties: y.d ~ x.d
    planes = p.planes(node.args[0])
    return [[replace(plane, ids=plane.ids.unsqueeze(-1), zero=False) for plane in planes]]


@rule("aten::bucketize", "aten::searchsorted")
def bucketize(p: Propagation, node: Node) -> list[Planes]:
    # y[...] = the rank of x[...] among boundaries   ties: y.d ~ x.d
    refs = node.inputs
    p.freeze_all(refs, "compared with boundaries")
    return []


@rule("aten::embedding_bag", "aten::_embedding_bag")
def embedding_bag(p: Propagation, node: Node) -> list[Planes]:
    # y[b, e] = sum (or mean, max) over a bag of weight[picks, e]   ties: weight.1 ~ y.1
    weight, *others = node.inputs
    p.freeze_all(others, "used as an index")
    planes = p.fuse_all(p.planes(weight), {0}, "rows are picked by data")
    for plane in planes:
        p.labels.write(plane.ids)
    return [planes]


@rule("aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal")
def read(p: Propagation, node: Node) -> list[Planes]:
    # a Python number   ties: nothing may change
    p.freeze_all(node.inputs, "read by Python code")
    return []


@rule("torchvision::nms", "aten::_assert_async", "aten::_functional_assert_async")
def decide(p: Propagation, node: Node) -> list[Planes]:
    # a choice among what was computed   ties: nothing may change
    p.freeze_all(node.inputs, "decides about the flow of data")
    return []


def _dims(p: Propagation, ref: Ref, dim: int) -> set[int]:
    return {dim % max(1, len(p.shape(ref)))}


def _matching(p: Propagation, ref: Ref, shape: tuple[int, ...], along: set[int]) -> Operand:
    """Return a value fused along ``along`` and along dims where it has not the size asked for."""
    own = p.shape(ref)
    other = {d for d, (a, b) in enumerate(zip(own, shape, strict=True)) if a != b}
    planes = p.fuse_all(p.planes(ref), along | other, _PICKED)
    return Operand(tuple(1 if d in along else n for d, n in enumerate(own)), planes)
