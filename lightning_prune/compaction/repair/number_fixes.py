"""Numbers of a recorded operation that must be in the smaller model what they were in the full one.

A scale computed from a width, or a mean over it, means the full width. One function per kind of
operation: it looks at the arguments that the smaller model passes, and returns the correction that
they need, or None. Nothing here knows the user's source.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from lightning_prune.compaction.repair.fixes import Arguments, Expectation, Fix, call_with
from lightning_prune.coupling.graph import Ref
from lightning_prune.modules.operations import argument_names
from lightning_prune.runtime.corrections import (
    ArgumentPin,
    PinArguments,
    RescaleMean,
    ScaleAttention,
    TensorOf,
    WidenGroupNorm,
    WidenLayerNorm,
    WidenRMSNorm,
)

_ROUNDING = 1e-4


def norm(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect statistics over the width that there was."""
    kept = e.forecast.kept(e.node.args[0], len(e.trace.graph[e.node.args[0]].shape) - 1)
    if kept is None:
        return None
    is_layer_norm = e.node.name == "aten::layer_norm"
    correct = WidenLayerNorm(len(kept)) if is_layer_norm else WidenRMSNorm(len(kept))
    names = ("weight", "bias", "eps") if is_layer_norm else ("weight", "eps")
    x, more = given["input"], {name: given[name] for name in names if name in given}
    return Fix(correct, lambda: correct(func, x, x.shape[-1:], **more))


def group_norm(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect the statistics of one group over the channels that there were."""
    kept = e.forecast.kept(e.node.args[0], 1)
    if kept is None or e.node.argument("num_groups") != 1:
        return None
    correct = WidenGroupNorm(len(kept))
    more = {name: given[name] for name in ("weight", "bias", "eps") if name in given}
    return Fix(correct, lambda: correct(func, given["input"], 1, **more))


def mean(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect a mean over all that there was; what is gone was zero."""
    source: Ref = e.node.args[0]
    rank = len(e.trace.graph[source].shape)
    dims = given.get("dim")
    dims = range(rank) if dims is None or dims == [] else dims
    lines = [e.forecast.kept(source, d % rank) for d in ([dims] if isinstance(dims, int) else dims)]
    factor = math.prod(float(line.double().mean()) for line in lines if line is not None)
    if factor == 1.0:
        return None
    plain = call_with(func, given)
    return Fix(RescaleMean(factor), lambda: plain() * factor)


def attention_scale(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect the scale of heads of the width that there was."""
    query: Ref = e.node.args[0]
    width = e.trace.graph[query].shape[-1]
    if given.get("scale") is not None or e.forecast.shape(query)[-1] == width:
        return None
    scale = width**-0.5
    return Fix(ScaleAttention(scale), call_with(func, given, scale=scale))


def groups(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Expect a convolution of as many groups as its channels make, of the width that each reads."""
    x, weight = (e.forecast.shape(ref) for ref in e.node.args[:2])
    if "transpose" in e.node.name:  # what its weight has beside the inputs is written, not read
        x = e.forecast.shape(e.node.results[0])
    channels, width = x[1 - len(weight) :][0], weight[1]
    value = given.get("groups", 1)
    right = channels // width if width else value
    if right in (0, value):
        return numbers(e, func, given, lists=True)
    pin = ArgumentPin(*_factor(right, value), "groups", argument_names(func).index("groups"))
    return Fix(PinArguments((pin,)), call_with(func, given, groups=right))


def interleaved(e: Expectation, func: OpOverload, given: Arguments) -> Fix | None:
    """Repeat as often as makes the size that is predicted."""
    source: Ref = e.node.args[0]
    dim, repeats = given.get("dim"), given.get("repeats")
    if dim is None or not isinstance(repeats, int):
        return numbers(e, func, given, lists=False)
    before, after = (e.forecast.shape(ref)[dim] for ref in (source, e.node.results[0]))
    right = after // max(before, 1)
    if repeats in {0, right}:
        return None
    common = math.gcd(right, repeats)
    pin = ArgumentPin(right // common, repeats // common, "repeats", 1)
    run = call_with(func, given, repeats=right)
    return Fix(PinArguments((pin,)), run, ((0, repeats, right),))


_FITTING = frozenset({"normalized_shape", "groups", "num_groups", "N", "C", "HxW", "group"})
"""Numbers that surgery has brought up to date, in attributes of torch's modules."""


def numbers(e: Expectation, func: OpOverload, given: Arguments, *, lists: bool) -> Fix | None:
    """Compare every single number with the recorded one, also those in constant tensors."""
    pins = []
    right = {}
    for place, name in enumerate(argument_names(func)):
        if name not in given or name in _FITTING:
            continue
        value, recorded = given[name], e.node.argument(name)
        if isinstance(value, Tensor):
            fix = _constant(e, func, given, name)
            if fix is not None:
                return fix
        elif _is_number(value) and _is_number(recorded) and not _same(value, recorded):
            pins.append(ArgumentPin(*_factor(recorded, value), name, place))
            right[name] = recorded
        elif lists and _is_list(value) and list(value) != list(recorded):
            raise LookupError(f"{name} {list(value)} instead of {list(recorded)}")
    return Fix(PinArguments(tuple(pins)), call_with(func, given, **right)) if pins else None


def _constant(e: Expectation, func: OpOverload, given: Arguments, name: str) -> Fix | None:
    """Compare a tensor of one number that was made of a number."""
    value, recorded = given[name], e.node.argument(name)
    number = e.trace.graph[recorded].number if isinstance(recorded, Ref) else None
    if number is None or value.numel() != 1 or _same(value.item(), number):
        return None
    correction = TensorOf(*_factor(number, value.item()))
    return Fix(correction, call_with(func, given, **{name: torch.full_like(value, number)}))


def _factor(recorded: float, value: float) -> tuple[float, float]:
    """Return the fraction by which a number is multiplied to be the recorded one."""
    if isinstance(recorded, int) and isinstance(value, int) and value:
        common = math.gcd(recorded, value)
        return recorded // common, value // common
    if not value or not math.isfinite(recorded / value):
        raise LookupError(f"the number {value} instead of {recorded}")
    return float(recorded), float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_number(v) for v in value)


def _same(value: float, recorded: float) -> bool:
    """Compare; what was computed from data differs by rounding."""
    if isinstance(value, int) and isinstance(recorded, int):
        return value == recorded
    return math.isclose(value, recorded, rel_tol=_ROUNDING) or (
        math.isnan(value) and math.isnan(recorded)
    )
