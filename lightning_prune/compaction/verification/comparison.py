"""Comparison: how far what two models returned lies apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_prune.compaction.verification.decisions import inputs_in_common
from lightning_prune.compaction.verification.runs import Run
from lightning_prune.errors import VerificationError

_REPEATABLE = 1e-6
"""How far apart two runs of one model may lie that draws no random numbers of consequence."""

_WORSE, _ROUNDINGS = 3, 2
"""How much further from the truth than the masked model a compact one may be."""


@dataclass(frozen=True)
class Errors:
    """Largest differences between two models, in float32.

    Args:
        max_abs_error: largest absolute difference of any output element.
        max_rel_error: the same over the largest absolute output element.
    """

    max_abs_error: float = 0.0
    max_rel_error: float = 0.0

    def __or__(self, other: Errors) -> Errors:
        return Errors(
            max(self.max_abs_error, other.max_abs_error),
            max(self.max_rel_error, other.max_rel_error),
        )


def errors_between(expected: Run, obtained: Run, *, made_up: bool = False) -> Errors:
    """Compare two models by what they returned, and by what they looked at to pick.

    Args:
        expected: run of the one.
        obtained: run of the other.
        made_up: they ran on inputs that nobody gave. Where the one returns NaN for these, as for a
            mask that hides everything, the other may return anything.

    Returns:
        The largest differences of real numbers.

    Raises:
        VerificationError: if shapes, types, whole numbers or words differ.
    """
    _require_same_form(expected.leaves, obtained.leaves)
    first, second = inputs_in_common(expected.decisions, obtained.decisions)
    errors = Errors()
    for one, other in zip([*first, *expected.leaves], [*second, *obtained.leaves], strict=True):
        errors |= _difference(one, other, made_up)
    return errors


def _require_same_form(expected: Sequence[Any], obtained: Sequence[Any]) -> None:
    shapes = [[tuple(t.shape) for t in ts if isinstance(t, Tensor)] for ts in (expected, obtained)]
    if shapes[0] != shapes[1]:
        raise VerificationError(f"outputs have shapes {shapes[1]} instead of {shapes[0]}")
    kinds = [[type(leaf) for leaf in leaves] for leaves in (expected, obtained)]
    if kinds[0] != kinds[1]:
        raise VerificationError("outputs differ in their types")


def _difference(expected: Any, obtained: Any, made_up: bool) -> Errors:
    if isinstance(expected, (float, complex)):
        expected, obtained = torch.tensor(expected), torch.tensor(obtained)
    if not isinstance(expected, Tensor):
        if expected != obtained:
            raise VerificationError(f"outputs hold {obtained!r} instead of {expected!r}")
        return Errors()
    if not (expected.is_floating_point() or expected.is_complex()):
        if not torch.equal(expected, obtained):
            raise VerificationError("outputs differ in whole numbers")
        return Errors()
    return _distance(expected, obtained, made_up)


def _distance(expected: Tensor, obtained: Tensor, made_up: bool = False) -> Errors:
    expected, obtained = _comparable(expected), _comparable(obtained)
    if made_up:
        obtained = torch.where(expected.isnan(), expected, obtained)
    finite = expected.isfinite()
    places = [torch.stack([t.isfinite(), t.isnan(), t.isposinf()]) for t in (expected, obtained)]
    if not torch.equal(*places):
        raise VerificationError("outputs differ in where they are finite")
    if not bool(finite.any()):
        return Errors()
    difference = float((expected - obtained)[finite].abs().max())
    scale = float(expected[finite].abs().max())
    return Errors(difference, difference / scale if scale else float(difference > 0))


def _comparable(tensor: Tensor) -> Tensor:
    """Return real numbers of at least float32, so that a difference is not rounded itself."""
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real.float() if torch.finfo(real.dtype).bits < 32 else real


def is_as_near(truth: Run, masked: Run, compact: Run) -> bool:
    """Tell whether the compact model rounds no worse than the masked one.

    Args:
        truth: run of the masked model in arithmetic of more digits.
        masked: run of the masked model in its own.
        compact: run of the compact model in its own.

    Returns:
        Whether the compact model is within a few times the distance of the masked one from the
        truth, and a few roundings of the outputs.

    Raises:
        VerificationError: if shapes differ, or places that are not finite.
    """
    _require_same_form(masked.leaves, compact.leaves)
    outputs = [_reals(run) for run in (truth, masked, compact)]
    if len({len(found) for found in outputs}) > 1:
        return True  # the truth has another form, as after a cast to whole numbers
    own = max((_distance(t, m).max_rel_error for t, m in zip(*outputs[:2], strict=True)), default=0)
    for exact, rounded in zip(outputs[0], outputs[2], strict=True):
        allowed = _WORSE * own + _ROUNDINGS * torch.finfo(rounded.dtype).eps
        if not _distance(exact, rounded).max_rel_error <= allowed:
            return False
    return True


def _reals(run: Run) -> list[Tensor]:
    return [t for t in run.leaves if isinstance(t, Tensor) and t.is_floating_point()]


def is_same(one: Run, other: Run) -> bool:
    """Tell whether two runs of one model returned the same."""
    try:
        return errors_between(one, other).max_rel_error <= _REPEATABLE
    except VerificationError:
        return False
