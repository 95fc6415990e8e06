"""Element-wise operations: an element varies if an element that it is computed from varies."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lightning_prune.compaction.constants.known import known
from lightning_prune.compaction.constants.step import Results, Step, Transfer, operations
from lightning_prune.coupling.graph import Ref


def elementwise(step: Step) -> Results:
    """Return what is known of ``y[i] = f(a[i], b[i], ...)``, with broadcasting."""
    varies = torch.zeros(step.shape(), dtype=torch.bool, device=step.device)
    for ref in step.known:
        varies = varies | step.value(ref).varies
    return [known(varies, step.numbers()[0])]


def product(step: Step) -> Results:
    """Return what is known of ``y[i] = a[i] * b[i]``: zero times anything is zero."""
    factors = [arg for arg in step.node.args[:2] if isinstance(arg, Ref)]
    if len(factors) < 2:
        return elementwise(step)
    a, b = map(step.value, factors)
    return [known((a.varies & b.counts) | (b.varies & a.counts), step.numbers()[0])]


def choice(step: Step) -> Results:
    """Return what is known of ``y[i] = a[i] if c[i] else b[i]``, but not of ``where(c)``."""
    return elementwise(step) if len(step.node.args) == 3 else []


def rectifier(step: Step) -> Results:
    """Return what is known of ``y[b, c, ...] = prelu(x[b, c, ...], slope[c])``."""
    x, slope = step.node.args[:2]
    if not step.value(slope).is_fixed:
        return []
    return [known(step.value(x).varies, step.numbers()[0])]


def dropout(step: Step) -> Results:
    """Return what is known of what is dropped at random in training: only zeros stay."""
    x = step.value(step.node.args[0])
    if step.node.argument("p") == 0:
        return [known(x.varies, x.numbers)]
    return [known(x.counts, torch.zeros_like(x.numbers))]


def conversion(step: Step) -> Results:
    """Return what is known of ``y[i] = x[i]`` in another type; fractions stay in float64."""
    x = step.value(step.node.args[0])
    dtype = step.trace.graph[step.node.results[0]].dtype
    if dtype.is_complex:
        return []
    return [known(x.varies, x.numbers.to(torch.float64 if dtype.is_floating_point else dtype))]


def gate(step: Step) -> Results:
    """Return what is known of ``y = a * sigmoid(b)``, where x is a and b side by side."""
    ref = step.node.args[0]
    dim = step.node.argument("dim", -1)
    if not step.is_of_channels(ref, dim):
        return []
    x = step.value(ref)
    (a, b), (a_varies, b_varies) = x.numbers.chunk(2, dim), x.varies.chunk(2, dim)
    return [known(a_varies | (b_varies & (a != 0)), a * b.sigmoid())]


ELEMENTWISE: Mapping[str, Transfer] = (
    dict.fromkeys(
        operations(
            "__and__ __or__ divide hardswish log_sigmoid masked_fill rsub subtract true_divide"
        ),
        elementwise,
    )
    | dict.fromkeys(operations("mul multiply"), product)
    | dict.fromkeys(operations("dropout feature_dropout native_dropout"), dropout)
    | dict.fromkeys(operations("to _to_copy type_as"), conversion)
    | {"aten::glu": gate, "aten::prelu": rectifier, "aten::where": choice}
)
