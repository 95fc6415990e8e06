"""What the literals of a recorded operation must be in the smaller model.

Sizes must be those that the labels predict. One function per kind of operation: it looks at the
arguments that the smaller model passes, and returns the correction that they need, or None. Nothing
here knows the user's source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch._ops import OpOverload

from lightning_prune.compaction.repair.fixes import Arguments, Expectation, Fix, call_with
from lightning_prune.compaction.repair.number_fixes import (
    attention_scale,
    group_norm,
    groups,
    interleaved,
    mean,
    norm,
    numbers,
)
from lightning_prune.compaction.repair.position_fixes import narrowed, sliced, split
from lightning_prune.coupling.centred import centred_squares
from lightning_prune.coupling.graph import Ref
from lightning_prune.coupling.rules import RULES
from lightning_prune.coupling.rules.elementwise import elementwise
from lightning_prune.coupling.rules.reduction import REFILLED, reduced_dims
from lightning_prune.modules.operations import argument_names
from lightning_prune.runtime.corrections import (
    PadWidth,
    Pick,
    Refill,
    Repad,
    Resize,
    SizeFactor,
    SquareCentred,
)


def fix_for(expectation: Expectation, func: OpOverload, args: Any, kwargs: Any) -> Fix | None:
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
    given: Arguments = dict(zip(argument_names(func), args, strict=False)) | dict(kwargs)
    rule = _RULES.get(expectation.node.name)
    fix = rule(expectation, func, given) if rule is not None else None
    if fix is not None or expectation.node.name in _POSITIONS:
        return fix
    if RULES.get(expectation.node.name) is elementwise:
        fix = _picked(expectation, func, given)
    return fix or numbers(expectation, func, given, lists=rule is None)


def _picked(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Pick from operands in full size what meets the coordinates that stay."""
    result, tensors = e.node.results[0], [t for t in given.values() if isinstance(t, Tensor)]
    shape, full = e.forecast.shape(result), e.trace.graph[result].shape
    stale = [
        dim
        for dim, (size, before) in enumerate(zip(shape[::-1], full[::-1], strict=True), start=1)
        if size != before and any(t.dim() >= dim and t.shape[-dim] == before for t in tensors)
    ]
    if not stale:
        return None
    if len(stale) > 1:
        raise LookupError("several dimensions of one operand are to shrink")
    pick = Pick(False, *_left(e, result, len(shape) - stale[0]))
    right = {name: pick(value) for name, value in given.items()}
    return Fix(pick, call_with(func, right))


def _sizes(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    name = next((n for n in ("size", "shape", "sizes") if n in given), None)
    made = e.node.name in _FACTORIES and not e.trace.planes.get(e.node.results[0])
    if name is None or made:
        return None
    literal = list(given[name])
    shape = e.forecast.shape(e.node.results[0])
    if name == "sizes":
        first = given["dim"] % (len(shape) - len(literal) + 1)
        shape = shape[first : first + len(literal)]
    stale = tuple(
        (place, given_size, size)
        for place, (given_size, size) in enumerate(zip(literal, shape, strict=True))
        if given_size not in {-1, size}
    )
    if not stale:
        return None
    right = dict(enumerate(literal)) | {place: size for place, _, size in stale}
    infers = -1 not in literal and e.node.name in _INFERRING
    correction = _resized(stale, _inferred(e, stale) if infers else None)
    run = call_with(func, given, **{name: list(right.values())})
    return Fix(correction, run, stale)


def _resized(stale: Sequence[tuple[int, int, int]], inferred: int | None) -> Resize:
    sizes = []
    for place, given, size in stale:
        common = math.gcd(given, size)
        if place == inferred:
            sizes.append(SizeFactor(place, 1, 0))
        elif given:
            sizes.append(SizeFactor(place, size // common, given // common))
        else:
            raise LookupError(f"a size is 0 instead of {size}")
    return Resize(tuple(sizes))


def _inferred(e: Expectation, stale: Sequence[tuple[int, int, int]]) -> int:
    """Return the stale size to leave to torch, rather one that no unit changes: a batch's."""
    result = e.trace.graph[e.node.results[0]].shape
    wanted = [place for place, given, size in stale if not given or result[place] == size]
    return wanted[0] if wanted else stale[-1][0]


def _repeat(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    before, after = (e.forecast.shape(ref) for ref in (e.node.args[0], e.node.results[0]))
    before = (1,) * (len(after) - len(before)) + before
    literal = list(given["repeats"])
    right = [n // m if m else k for n, m, k in zip(after, before, literal, strict=True)]
    stale = tuple((i, literal[i], n) for i, n in enumerate(right) if n != literal[i])
    if not stale:
        return None
    return Fix(_resized(stale, None), call_with(func, given, repeats=right), stale)


def _pad(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect borders of channels that are as wide as they were: nothing goes from a border."""
    source: Ref = e.node.args[0]
    rank = len(e.trace.graph[source].shape)
    labelled = {dim for plane in e.trace.planes.get(source, ()) for dim in plane.varying}
    recorded, right = list(e.node.argument("pad")), list(given["pad"])
    stale = []
    for place, width in enumerate(recorded):
        if right[place] != width and rank - 1 - place // 2 in labelled:
            stale.append(PadWidth(place, width))
            right[place] = width
    if right != recorded:
        raise LookupError(f"pad {list(given['pad'])} instead of {recorded}")
    return Fix(Repad(tuple(stale)), call_with(func, given, pad=right)) if stale else None


def _left(e: Expectation, ref: Ref, dim: int) -> tuple[int, int, tuple[int, ...]]:
    """Return a dimension counted from the last one, its full size, and what is left along it."""
    sizes, kept = e.trace.graph[ref].shape, e.forecast.kept(ref, dim)
    left = range(sizes[dim]) if kept is None else kept.nonzero().flatten().tolist()
    return len(sizes) - dim, sizes[dim], tuple(left)


def _refilled(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Give a reduction back the zeros that are gone."""
    if len(e.node.inputs) > 1:
        return None  # the larger or smaller of two tensors
    source: Ref = e.node.args[0]
    before, after = e.trace.graph[source].shape, e.forecast.shape(source)
    stale = [d for d in reduced_dims(e.node, len(before)) if before[d] != after[d]]
    if not stale:
        return None
    if len(stale) > 1:
        raise LookupError("it reduces several dimensions that shrink")
    refill = Refill(False, *_left(e, source, stale[0]))
    name = func._schema.arguments[0].name
    return Fix(refill, call_with(func, {**given, name: refill(given[name])}))


def _squared(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Let the square of what was centred count what is gone."""
    result = e.node.results[0]
    dims = centred_squares(e.trace.graph).get(result, frozenset())
    before, after = e.trace.graph[result].shape, e.forecast.shape(result)
    stale = [d for d in dims if before[d] != after[d]]
    if not stale:
        return None
    if len(stale) > 1:
        raise LookupError("it is centred over several dimensions that shrink")
    counted = tuple(len(before) - d for d in sorted(dims))
    square = SquareCentred(False, counted, after[stale[0]], before[stale[0]])
    value = given[func._schema.arguments[0].name]
    return Fix(square, lambda: square(value))


_INFERRING = frozenset({"aten::view", "aten::_unsafe_view", "aten::reshape", "aten::unflatten"})
_POSITIONS = frozenset(
    f"aten::{name}"
    for name in (
        "slice narrow split unsafe_split split_with_sizes tensor_split repeat_interleave"
    ).split()
)
"""Operations whose numbers are positions: they are right where the labels say so."""

_FACTORIES = frozenset(
    f"aten::{name}"
    for name in "new_zeros new_ones new_full new_empty zeros ones full empty rand randn".split()
)

_CONVOLUTIONS = tuple(f"aten::conv{of}{n}d" for of in ("", "_transpose") for n in (1, 2, 3))

_Rule = Callable[[Expectation, OpOverload, Arguments], Fix | None]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys([*_INFERRING, *_FACTORIES, "aten::expand", "aten::broadcast_to"], _sizes),
    "aten::repeat": _repeat,
    "aten::repeat_interleave": interleaved,
    "aten::split": split,
    "aten::unsafe_split": split,
    "aten::split_with_sizes": split,
    "aten::tensor_split": split,
    "aten::slice": sliced,
    "aten::narrow": narrowed,
    "aten::pad": _pad,
    "aten::constant_pad_nd": _pad,
    "aten::layer_norm": norm,
    "aten::rms_norm": norm,
    "aten::group_norm": group_norm,
    "aten::mean": mean,
    **dict.fromkeys(REFILLED, _refilled),
    **dict.fromkeys(_CONVOLUTIONS, groups),
    **dict.fromkeys(["aten::pow", "aten::square", "aten::mul"], _squared),
    "aten::scaled_dot_product_attention": attention_scale,
}
