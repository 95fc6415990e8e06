"""Which positions a recorded operation takes in the smaller model: slices and splits.

They are those that the labels leave of the recorded ones. Nothing here knows the user's source.
"""

from __future__ import annotations

import torch
from torch._ops import OpOverload

from lightning_prune.compaction.repair.fixes import Arguments, Expectation, Fix, call_with
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.runtime.corrections import CutBounds, Recut, Renarrow, Resplit


def cut_bounds(e: Expectation) -> tuple[int, int]:
    """Return start and end of a recorded slice in the smaller model."""
    source: Ref = e.node.args[0]
    size = len(e.trace.graph[source].shape)
    dim = e.node.argument("dim", 0) % size
    kept = e.forecast.kept(source, dim)
    start, end = _recorded_bounds(e.node, e.trace.graph[source].shape[dim])
    if kept is None:
        return start, end
    return int(kept[:start].sum()), int(kept[:end].sum())


def cut_correction(e: Expectation) -> Recut:
    """Return the correction of a recorded slice, of which something goes."""
    rank = len(e.trace.graph[e.node.args[0]].shape)
    return Recut((CutBounds(e.node.argument("dim", 0) % rank, rank, *cut_bounds(e)),))


def _recorded_bounds(node: Node, size: int) -> tuple[int, int]:
    start = node.argument("start", 0) or 0
    if node.name == "aten::narrow":
        start = start + size if start < 0 else start
        return start, start + node.argument("length")
    return slice(start, node.argument("end")).indices(size)[:2]


def sliced(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect what is left of the part that was taken."""
    bounds = cut_bounds(e)
    start, end = bounds
    dim = given.get("dim", 0)
    size = given["self"].shape[dim]
    if slice(given.get("start"), given.get("end")).indices(size)[:2] == bounds:
        return None
    if e.node.argument("step", 1) != 1:
        raise LookupError("every n-th element is taken, of a part that has changed")
    return Fix(cut_correction(e), lambda: given["self"].narrow(dim, start, end - start))


def narrowed(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect the same of a start and a length."""
    bounds = cut_bounds(e)
    start, length = bounds[0], bounds[1] - bounds[0]
    given_start = int(given["start"]) % max(1, given["self"].shape[given["dim"]])
    if (given_start, given["length"]) == (start, length):
        return None
    changed = {"start": start, "length": length}
    return Fix(Renarrow(start, length), call_with(func, given, **changed))


def split(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect parts of which as much is left as the labels say."""
    name = next(n for n in ("split_size", "split_sizes", "sections", "indices") if n in given)
    dim = given.get("dim", 0)
    parts = [e.forecast.shape(ref)[dim] for ref in e.node.results]
    size = given["self"].shape[dim]
    if name in {"sections", "indices"}:
        ends = [sum(parts[: i + 1]) for i in range(len(parts) - 1)]
        found = [t.shape[dim] for t in torch.tensor_split(given["self"], given[name], dim)]
        if found == parts:
            return None
        return Fix(Resplit(tuple(ends)), lambda: torch.tensor_split(given["self"], ends, dim))
    literal = given[name]
    found = (
        [min(literal, size - start) for start in range(0, size, literal)]
        if isinstance(literal, int)
        else list(literal)
    )
    if found == parts:
        return None
    return Fix(
        Resplit(tuple(parts)),
        lambda: torch.ops.aten.split_with_sizes.default(given["self"], parts, dim),
    )
