"""Products: a sum varies if something that varies meets a weight that is not zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_prune.compaction.constants.known import different_rows, known
from lightning_prune.compaction.constants.step import Results, Step, Transfer, operations
from lightning_prune.coupling.graph import Ref


def linear(step: Step) -> Results:
    """Return what is known of ``y[..., o] = sum_i x[..., i] * w[o, i] + bias[o]``."""
    x, weight = step.node.args[:2]
    if step.known[x] is None and bool(step.value(weight).counts.any(1).all()):
        return []  # the usual case, for which nothing need be computed
    return _product(step, 0, 1, step.node.argument("bias"), by_row=True)


def matrix(step: Step) -> Results:
    """Return what is known of ``y[..., i, j] = sum_k a[..., i, k] * b[..., k, j]``."""
    return _product(step, 0, 1, None)


def matrix_and_bias(step: Step) -> Results:
    """Return what is known of ``y = beta * bias + alpha * (a @ b)``."""
    return _product(step, 1, 2, step.node.args[0])


def convolution(step: Step) -> Results:
    """Return what is known of ``y[b, o, p] = sum_iq x[b, i, p + q] * w[o, i, q] + bias[o]``."""
    x, weight = step.node.args[:2]
    if step.known[x] is None and bool(step.value(weight).counts.flatten(1).any(1).all()):
        return []
    padding = step.node.argument("padding", 0)
    values = padding if isinstance(padding, (list, tuple)) else [padding]
    pads = any(value not in (0, "valid") for value in values)
    return _product(step, 0, 1, step.node.argument("bias"), keeps_numbers=not pads)


def transposed(step: Step) -> Results:
    """Return what is known of a transposed convolution: how much meets a place follows from it."""
    return _product(step, 0, 1, step.node.argument("bias"), keeps_numbers=False)


def _product(
    step: Step,
    first: int,
    second: int,
    bias: Any,
    *,
    keeps_numbers: bool = True,
    by_row: bool = False,
) -> Results:
    """Return what is known of a product of two arguments.

    Args:
        step: the operation, linear in both.
        first: position of the one.
        second: position of the other.
        bias: what is added, if anything.
        keeps_numbers: numbers other than zero are the same wherever they are; as they are not
            beside borders of zeros.
        by_row: each row of the first gives one of the result, so that rows which are the same
            are multiplied once.
    """
    refs = step.node.args[first], step.node.args[second]
    if isinstance(bias, Ref) and not step.value(bias).is_fixed:
        return []
    a, b = map(step.value, refs)
    rows = different_rows(a) if by_row else None
    if rows is not None:
        a = rows.known
    # Of two activations, how many numbers are added may follow from sizes.
    exact = keeps_numbers and any(ref in step.origins.weights for ref in refs)
    meets = _meets(step, first, second, a.varies if exact else a.counts, b.counts)
    if exact:
        meets = meets | _meets(step, first, second, a.counts, b.varies)
    numbers = step.run(lambda ref: step.value(ref).numbers, {first: a.numbers})[0]
    if rows is not None:
        meets, numbers = (rows.spread(t.expand_as(numbers)) for t in (meets, numbers))
    return [known(meets, numbers)]


def _meets(step: Step, first: int, second: int, a: Tensor, b: Tensor) -> Tensor:
    """Tell where an element of ``a`` meets one of ``b``."""
    if not bool(a.any()) or not bool(b.any()):
        return torch.zeros((), dtype=torch.bool, device=step.device)
    if "conv" in step.node.name and b.dim() > 2:  # any place of a kernel, for other sizes
        b = b.flatten(2).any(2).reshape(*b.shape[:2], *[1] * (b.dim() - 2)).expand(b.shape)
    # Sums of ones are exact up to 2^24 in float32, but some convolutions are no plain sums.
    is_exact = a.dim() > 0 and a.shape[-1] < 2**24 and "conv" not in step.node.name
    dtype = torch.float32 if is_exact else torch.float64
    at = {first: a.to(dtype), second: b.to(dtype)}

    def none(ref: Ref) -> Tensor:
        return torch.zeros_like(step.value(ref).numbers, dtype=dtype)

    return step.run(none, at)[0].abs() > 0.5


PRODUCTS: Mapping[str, Transfer] = (
    dict.fromkeys(operations("matmul mm bmm mv"), matrix)
    | dict.fromkeys(operations("addmm baddbmm"), matrix_and_bias)
    | dict.fromkeys(operations("conv1d conv2d conv3d"), convolution)
    | dict.fromkeys(operations("conv_transpose1d conv_transpose2d conv_transpose3d"), transposed)
    | {"aten::linear": linear}
)
