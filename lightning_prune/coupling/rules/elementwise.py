"""Rules for operations that work element by element: activations, arithmetic, dropout, casts.

Whether a removed coordinate is zero afterwards is not written down per operation: the operation
itself is run on single numbers, zero where an operand is zero there and arbitrary elsewhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from lightning_prune.coupling.align import Joined, Operand, align
from lightning_prune.coupling.graph import Node, Ref
from lightning_prune.coupling.propagate import Planes, Propagation
from lightning_prune.coupling.rules.base import rule

_SAMPLES = (0.731, -1.37, 19.13)
_ADDING = frozenset({"aten::add", "aten::sub", "aten::rsub"})

_RANDOM = frozenset(
    f"aten::{name}"
    for name in (
        "alpha_dropout feature_alpha_dropout bernoulli rand_like randn_like empty_like"
    ).split()
)
"""What these yield says nothing about what they would yield next time (unless not training)."""


@rule(
    *(
        f"aten::{name}"
        for name in (
            # activations
            "relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh "
            "sigmoid log_sigmoid tanh softplus softsign softshrink hardshrink threshold "
            "rrelu "
            # dropout
            "dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout bernoulli "
            # functions of one number
            "abs neg sign sqrt rsqrt square reciprocal exp exp2 expm1 log log2 log10 log1p sin "
            "cos tan asin acos atan sinh cosh asinh acosh atanh sinc logit sgn signbit heaviside "
            "lgamma digamma erf erfc erfinv deg2rad rad2deg ceil floor round trunc frac positive "
            "nan_to_num isnan isinf isposinf isneginf isfinite logical_not bitwise_not "
            # arithmetic and comparison
            "add sub rsub subtract mul multiply div divide true_divide floor_divide remainder "
            "fmod pow float_power xlogy copysign maximum minimum fmax fmin clamp clip clamp_min "
            "clamp_max lerp addcmul addcdiv atan2 hypot polar complex conj _conj resolve_conj "
            "real imag logaddexp logaddexp2 where masked_fill copy gt lt ge le eq ne logical_and "
            "logical_or logical_xor bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__ "
            # new tensors of the same shape
            "zeros_like ones_like full_like empty_like rand_like randn_like zero fill"
        ).split()
    )
)
def elementwise(p: Propagation, node: Node) -> list[Planes]:
    # y[...] = f(a[...], b[...], ...)   ties: a.d ~ b.d ~ y.d for every broadcast dimension d; of an
    # operand that no weight writes, what meets a kept coordinate is picked in the source
    if node.name == "aten::where" and len(node.args) == 1:
        p.freeze_all(node.inputs, "elements are picked by data")
        return []
    refs = [ref for ref in node.inputs if p.shape(ref) or p.planes(ref)]
    operands = [Operand(p.shape(ref), p.planes(ref)) for ref in refs]

    def is_zero(flags: list[bool]) -> bool | None:
        return any(flags) and _maps_to_zero(p, node, dict(zip(refs, flags, strict=True)))

    def is_picked(one: Joined, index: int) -> bool:
        in_place = node.writes and index == 0
        activation = any(not p.is_static(refs[labelled]) for labelled in one.zero)
        may = node.site is not None and activation and not (in_place or one.plane.uniform)
        may = may and p.labels.picks and p.is_seen(refs[index])
        if may:
            p.labels.pick(one.plane.ids)
        return may

    if node.name in _ADDING and not all(map(p.is_static, refs)):
        for ref in filter(p.is_static, refs):  # what a parameter adds, it writes
            for plane in p.planes(ref):
                p.labels.write(plane.ids)
    planes = align(p, operands, is_zero, is_picked)
    return [planes for _ in node.results]


def _maps_to_zero(p: Propagation, node: Node, zero: dict[Ref, bool]) -> bool | None:
    """Run the operation on single numbers and tell whether the result is zero for all of them.

    Returns:
        None if the result is infinite or no number at all for each of them.
    """
    if node.name in _RANDOM and node.argument("train", True):
        return False
    order = {ref: index for index, ref in enumerate(dict.fromkeys(node.inputs))}

    def described(leaf: Any) -> Any:
        return (
            (order[leaf], zero.get(leaf, False), p.dtype(leaf)) if isinstance(leaf, Ref) else leaf
        )

    # Whatever else it depends on is the same in all of a recording, random numbers included.
    arguments = tree_map(described, (node.args, node.kwargs))
    asked = repr((node.op, arguments, p.hands_over))
    if asked not in p.mapped_to_zero:
        p.mapped_to_zero[asked] = _is_zero_of_samples(p, node, zero, order)
    return p.mapped_to_zero[asked]


def _is_zero_of_samples(
    p: Propagation, node: Node, zero: dict[Ref, bool], order: dict[Ref, int]
) -> bool | None:
    # Zero may be what Python made of numbers of the data that it was handed.
    may_vary = p.hands_over and node.name in _ADDING

    def run(sample: float) -> Any:
        def number(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return 1.0 if may_vary and leaf == 0 and not isinstance(leaf, bool) else leaf
            value = 0.0 if zero.get(leaf, False) else sample * (1 + 0.37 * order[leaf])
            return _number(value, p.dtype(leaf))

        args, kwargs = tree_map(number, (node.args, node.kwargs))
        return node.op(*args, **kwargs)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            results = [run(sample) for sample in _SAMPLES]
        except (RuntimeError, TypeError, ValueError, NotImplementedError, IndexError):
            return False
    first = [result[0] if isinstance(result, (tuple, list)) else result for result in results]
    if not any(bool(torch.isfinite(t).all()) for t in first):
        return None
    if not all(isinstance(t, Tensor) and not t.isnan().any() and not t.any() for t in first):
        return False
    with torch.no_grad():
        try:
            among_zeros = run(0.0)
        except (RuntimeError, ValueError):  # a division of whole numbers: no result at all
            return True
    one = among_zeros[0] if isinstance(among_zeros, (tuple, list)) else among_zeros
    return not bool(torch.nan_to_num(one).any())


def _number(value: float, dtype: torch.dtype) -> Tensor:
    """Return ``value`` as a number of a type; what is not zero stays so."""
    if dtype == torch.bool:
        return torch.tensor(value > 0)
    if not dtype.is_floating_point and not dtype.is_complex:
        return torch.tensor(math.copysign(math.ceil(abs(value)), value)).to(dtype)
    return torch.tensor(value, dtype=dtype)
