"""Decisions: what a model picks by comparing numbers, noted in one run and repeated in another.

Sorting, thresholds, non-maximum suppression and rounding turn the smallest difference into another
output altogether. Two models are therefore compared by what goes *into* every decision; then the
second one is given the decision of the first, so that what follows can be compared, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from typing_extensions import override

from lightning_prune.modules.operations import base_name

_DECIDING = frozenset(
    f"aten::{name}"
    for name in (
        "topk sort argsort argmax argmin max min median mode kthvalue nonzero unique _unique2 "
        "gt lt ge le eq ne floor ceil round trunc bucketize searchsorted multinomial"
    ).split()
) | {"torchvision::nms"}


@dataclass(frozen=True, eq=False)
class Decision:
    """One operation that picks.

    Args:
        op: the operation.
        inputs: the tensors of real numbers that it looked at.
        result: what it returned.
    """

    op: OpOverload
    inputs: list[Tensor]
    result: Any


class Decisions(TorchDispatchMode):
    """Notes the decisions of a run, and repeats those of an earlier one.

    It also notes whether real numbers are cast to a type of fewer digits on the way.

    Args:
        earlier: what is repeated, in order, as long as the same operations come in the same
            shapes; the first that does not fit ends that.
    """

    def __init__(self, earlier: list[Decision] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[Decision] = []
        self.lowers_precision = False
        self._earlier = earlier or []
        self._repeats = earlier is not None

    @override
    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.lowers_precision |= base_name(func) == "aten::_to_copy" and _is_lower(args, result)
        if not self._decides(func, result):
            return result
        inputs = [t for t in tree_leaves((args, kwargs)) if _is_real(t)]
        if not inputs:
            return result
        kept = tree_map(_copied, result)  # the model may write into it
        self.made.append(Decision(func, [t.clone() for t in inputs], kept))
        self._repeats = self._repeats and self._fits(self.made[-1])
        return _like(self._earlier[len(self.made) - 1].result, result) if self._repeats else result

    @staticmethod
    def _decides(func: OpOverload, result: Any) -> bool:
        if base_name(func) == "aten::_to_copy":
            return isinstance(result, Tensor) and not result.is_floating_point()
        return base_name(func) in _DECIDING and not func._schema.is_mutable

    def _fits(self, made: Decision) -> bool:
        if len(self.made) > len(self._earlier):
            return False
        earlier = self._earlier[len(self.made) - 1]
        shapes = [[t.shape for t in one.inputs] for one in (earlier, made)]
        return earlier.op is made.op and shapes[0] == shapes[1]


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _like(earlier: Any, result: Any) -> Any:
    """Return a copy of an earlier result in the arithmetic of this run."""
    return tree_map(
        lambda a, b: a.to(b.dtype, copy=True) if isinstance(a, Tensor) else a, earlier, result
    )


def _is_lower(args: tuple[Any, ...], result: Any) -> bool:
    """Tell whether a cast of real numbers loses digits."""
    return (
        isinstance(result, Tensor)
        and isinstance(args[0], Tensor)
        and result.is_floating_point()
        and args[0].is_floating_point()
        and torch.finfo(result.dtype).eps > torch.finfo(args[0].dtype).eps
    )


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel() > 0


def inputs_in_common(first: list[Decision], second: list[Decision]) -> list[list[Tensor]]:
    """Return what went into the decisions that two runs have in common.

    Args:
        first: the decisions of a run.
        second: those of another.

    Returns:
        For each run the tensors, as many and of the same shapes.
    """
    found: list[list[Tensor]] = [[], []]
    for one, other in zip(first, second, strict=False):
        shapes = [[t.shape for t in each.inputs] for each in (one, other)]
        if one.op is not other.op or shapes[0] != shapes[1]:
            break
        found[0] += one.inputs
        found[1] += other.inputs
    return found


def is_proof(decisions: list[Decision]) -> bool:
    """Tell whether decisions looked at any number that could tell two models apart."""
    return any(bool(t.isfinite().any()) for one in decisions for t in one.inputs)
