"""What the literals of a recorded operation must be in the smaller model.

Sizes must be those that the labels foretell. Every other number must be the one that the model of
full size used, for a scale computed from a width, or a mean over it, means the full width. One
function per kind of operation: it looks at the arguments that the smaller model passes, and returns
the correction that they need, or None. Nothing here knows the user's source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from lightning_prune.compaction.corrections import Correction
from lightning_prune.coupling.forecast import Forecast, Trace
from lightning_prune.coupling.graph import Node, Ref

_ROUNDING = 1e-4


@dataclass(frozen=True)
class Expectation:
    """A recorded operation and what is foretold of it.

    Args:
        node: the operation.
        trace: the pass to which it belongs.
        forecast: what stays of its values.
    """

    node: Node
    trace: Trace
    forecast: Forecast


@dataclass(frozen=True)
class Mended:
    """A correction, and the operation as it should have been called.

    Args:
        correction: what must stand in for the user's call.
        run: calls the operation rightly.
        infers: whether one of the sizes may be left to torch, written as -1.
    """

    correction: Correction
    run: Callable[[], Any]
    infers: bool = False


Arguments = dict[str, Any]


def mend(expectation: Expectation, func: OpOverload, args: Any, kwargs: Any) -> Mended | None:
    """Return how a call must be corrected, None if it is right.

    Args:
        expectation: the recorded operation.
        func: the same operation, in the smaller model.
        args: positional arguments there.
        kwargs: keyword arguments there.

    Returns:
        The correction, or None.

    Raises:
        LookupError: if it is wrong and there is no correction.
    """
    names = [argument.name for argument in func._schema.arguments]
    given: Arguments = dict(zip(names, args, strict=False)) | dict(kwargs)
    rule = _RULES.get(expectation.node.name)
    if rule is not None:
        mended = rule(expectation, func, given)
        if mended is not None or _is_right(expectation):
            return mended
    return _numbers(expectation, func, given)


def _is_right(e: Expectation) -> bool:
    """Tell whether the rule found what a part is cut by right, however it differs from before."""
    if e.node.name in {"aten::slice", "aten::narrow"}:
        return cut_bounds(e) is not None
    return _RULES[e.node.name] is _split


def _call(func: OpOverload, given: Arguments, **changed: Any) -> Callable[[], Any]:
    """Return a call with some arguments changed; ``self`` cannot be given by name."""
    first = func._schema.arguments[0].name
    rest = {name: value for name, value in {**given, **changed}.items() if name != first}
    return lambda: func({**given, **changed}[first], **rest)


# Sizes.


def _sizes(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    name = next((n for n in ("size", "shape", "sizes") if n in given), None)
    made = e.node.name in _FACTORIES and not e.trace.planes.get(e.node.results[0])
    if name is None or made:
        return None
    literal = list(given[name])
    shape = e.forecast.shape(e.node.results[0])
    if name == "sizes":
        first = given["dim"] % (len(shape) - len(literal) + 1)
        shape = shape[first : first + len(literal)]
    stale = {i: n for i, n in enumerate(shape) if literal[i] not in {-1, n}}
    if not stale:
        return None
    right = [stale.get(i, n) for i, n in enumerate(literal)]
    pairs = tuple(stale.items())
    infers = -1 not in literal and e.node.name in _INFERRING
    return Mended(Correction("resize", pairs), _call(func, given, **{name: right}), infers)


def _split(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    name = next(n for n in ("split_size", "split_sizes", "sections", "indices") if n in given)
    dim = given.get("dim", 0)
    parts = [e.forecast.shape(ref)[dim] for ref in e.node.results]
    size = given["self"].shape[dim]
    if name in {"sections", "indices"}:
        ends = [sum(parts[: i + 1]) for i in range(len(parts) - 1)]
        found = [t.shape[dim] for t in torch.tensor_split(given["self"], given[name], dim)]
        if found == parts:
            return None
        return Mended(
            Correction("resplit", tuple(ends)), lambda: torch.tensor_split(given["self"], ends, dim)
        )
    literal = given[name]
    found = (
        [min(literal, size - start) for start in range(0, size, literal)]
        if isinstance(literal, int)
        else list(literal)
    )
    if found == parts:
        return None
    return Mended(
        Correction("resplit", tuple(parts)),
        lambda: torch.ops.aten.split_with_sizes.default(given["self"], parts, dim),
    )


def cut_bounds(e: Expectation) -> tuple[int, int] | None:
    """Return start and end of a recorded slice in the smaller model; None if nothing goes."""
    source: Ref = e.node.args[0]
    size = len(e.trace.graph[source].shape)
    dim = e.node.argument("dim", 0) % size
    kept = e.forecast.kept(source, dim)
    if kept is None:
        return None
    start, end = _recorded_bounds(e.node, len(kept))
    return int(kept[:start].sum()), int(kept[:end].sum())


def _recorded_bounds(node: Node, size: int) -> tuple[int, int]:
    start = node.argument("start", 0) or 0
    if node.name == "aten::narrow":
        return start % size if start < 0 else start, start + node.argument("length")
    return slice(start, node.argument("end")).indices(size)[:2]


def _slice(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    bounds = cut_bounds(e)
    if bounds is None:
        return None
    start, end = bounds
    dim = given.get("dim", 0)
    size = given["self"].shape[dim]
    if slice(given.get("start"), given.get("end")).indices(size)[:2] == bounds:
        return None
    return Mended(
        Correction("recut", (dim % given["self"].dim(), start, end)),
        lambda: given["self"].narrow(dim, start, end - start),
    )


def _narrow(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    bounds = cut_bounds(e)
    if bounds is None:
        return None
    start, length = bounds[0], bounds[1] - bounds[0]
    if (int(given["start"]), given["length"]) == (start, length):
        return None
    changed = {"start": start, "length": length}
    return Mended(Correction("renarrow", (start, length)), _call(func, given, **changed))


# Numbers that stand for the full width.


def _norm(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    kept = e.forecast.kept(e.node.args[0], len(e.trace.graph[e.node.args[0]].shape) - 1)
    if kept is None:
        return None
    kind = e.node.name.removeprefix("aten::")
    x, weight = given["input"], given.get("weight")
    correct = Correction(kind, len(kept)).function()
    vectors = [given.get("bias")] if kind == "layer_norm" else []
    eps = given.get("eps", 1e-5 if kind == "layer_norm" else None)
    return Mended(
        Correction(kind, len(kept)), lambda: correct(func, x, x.shape[-1:], weight, *vectors, eps)
    )


def _mean(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    source: Ref = e.node.args[0]
    rank = len(e.trace.graph[source].shape)
    dims = given.get("dim")
    dims = range(rank) if dims is None or dims == [] else dims
    lines = [e.forecast.kept(source, d % rank) for d in ([dims] if isinstance(dims, int) else dims)]
    factor = math.prod(float(line.double().mean()) for line in lines if line is not None)
    if factor == 1.0:
        return None
    plain = _call(func, given)
    return Mended(Correction("rescale", factor), lambda: plain() * factor)


def _attention(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    query: Ref = e.node.args[0]
    width = e.trace.graph[query].shape[-1]
    if given.get("scale") is not None or e.forecast.shape(query)[-1] == width:
        return None
    scale = width**-0.5
    return Mended(Correction("attend", scale), _call(func, given, scale=scale))


_FITTING = frozenset({"normalized_shape", "groups", "num_groups", "N", "C", "HxW", "group"})
"""Numbers that surgery has brought up to date, in attributes of torch's modules."""


def _numbers(e: Expectation, func: OpOverload, given: Arguments) -> Mended | None:
    """Compare every single number with the recorded one, also those in constant tensors."""
    for place, argument in enumerate(func._schema.arguments):
        name = argument.name
        if name not in given or name in _FITTING:
            continue
        value, recorded = given[name], e.node.argument(name)
        if isinstance(value, Tensor):
            number = e.trace.graph[recorded].number if isinstance(recorded, Ref) else None
            if number is not None and value.numel() == 1 and not _same(value.item(), number):
                right = torch.full_like(value, number)
                return Mended(Correction("tensor_of", number), _call(func, given, **{name: right}))
        elif _is_number(value) and _is_number(recorded) and not _same(value, recorded):
            known = (recorded, name, place)
            return Mended(Correction("pin", known), _call(func, given, **{name: recorded}))
        elif _is_list(value) and e.node.name not in _RULES and list(value) != list(recorded):
            raise LookupError(f"{name} {list(value)} instead of {list(recorded)}")
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_number(v) for v in value)


def _same(value: float, recorded: float) -> bool:
    """Compare; what was computed from data differs by rounding."""
    if isinstance(value, int) and isinstance(recorded, int):
        return value == recorded
    return math.isclose(value, recorded, rel_tol=_ROUNDING) or value == recorded


_INFERRING = frozenset({"aten::view", "aten::_unsafe_view", "aten::reshape", "aten::unflatten"})
_FACTORIES = frozenset(
    f"aten::{name}"
    for name in "new_zeros new_ones new_full new_empty zeros ones full empty rand randn".split()
)

_Rule = Callable[[Expectation, OpOverload, Arguments], Mended | None]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys([*_INFERRING, *_FACTORIES, "aten::expand", "aten::broadcast_to"], _sizes),
    "aten::split": _split,
    "aten::unsafe_split": _split,
    "aten::split_with_sizes": _split,
    "aten::tensor_split": _split,
    "aten::slice": _slice,
    "aten::narrow": _narrow,
    "aten::layer_norm": _norm,
    "aten::rms_norm": _norm,
    "aten::mean": _mean,
    "aten::scaled_dot_product_attention": _attention,
}
