"""Known: which elements of a value may vary, and the numbers of all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

ROUNDING = 1e-12
"""Largest difference of numbers that count as the same, for numbers up to one; else relative."""

_STAND_IN = 1.0


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one value of a recorded pass, for any input.

    Args:
        varies: ``True`` where an element may differ between two calls, in the value's shape.
        numbers: what the other elements are, in the same shape; in float64 if it has fractions.
    """

    varies: Tensor
    numbers: Tensor

    @cached_property
    def counts(self) -> Tensor:
        """``True`` where an element varies or is not zero."""
        return self.varies | (self.numbers != 0)

    @property
    def is_fixed(self) -> bool:
        """Whether no element varies."""
        return not bool(self.varies.any())

    def is_uniform(self, dims: Sequence[int]) -> Tensor:
        """Tell where nothing varies along some dimensions, and all numbers are the same there.

        Args:
            dims: the dimensions, at least one.

        Returns:
            In the shape of the value, with these dimensions of size 1.
        """
        dims = list(dims)
        low, high = self.numbers.amin(dims, keepdim=True), self.numbers.amax(dims, keepdim=True)
        return are_equal(low, high) & ~self.varies.any(dims, keepdim=True)


def are_equal(a: Tensor, b: Tensor) -> Tensor:
    """Tell where numbers are the same but for rounding."""
    if not a.is_floating_point():
        return a == b
    return (a - b).abs() <= ROUNDING * a.abs().clamp_min(1)


def fixed(numbers: Tensor) -> Known | None:
    """Return a value of which no element varies."""
    if numbers.is_floating_point() and numbers.numel() and bool(numbers.sum().isfinite()):
        varies = torch.zeros((), dtype=torch.bool, device=numbers.device)
        return Known(varies.expand(numbers.shape), numbers.double())
    return known(torch.zeros_like(numbers, dtype=torch.bool), numbers)


def known(varies: Tensor, numbers: Tensor) -> Known | None:
    """Return what is known, or None if every element may vary.

    Args:
        varies: ``True`` where an element may vary; of a shape that fits ``numbers``.
        numbers: what the other elements are. What is not finite counts as varying.
    """
    if numbers.is_complex() or not numbers.numel():
        return None
    numbers = numbers.double() if numbers.is_floating_point() else numbers
    varies = varies.expand(numbers.shape) | ~numbers.isfinite()
    if bool(varies.all()):
        return None
    # Finite, so that zero times what varies is zero.
    return Known(varies, numbers.masked_fill(varies, _STAND_IN))


def unknown(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Known:
    """Return a value of which every element may vary."""
    wide = torch.float64 if dtype.is_floating_point else dtype
    numbers = torch.full(list(shape), _STAND_IN, dtype=wide, device=device)
    return Known(torch.ones_like(numbers, dtype=torch.bool), numbers)


@dataclass(frozen=True, eq=False)
class Rows:
    """The different rows of a value, of which neighbours are often the same.

    Args:
        known: what is known of them, shape ``[different rows, columns]``.
        index: the row that stands at each place, shape ``[rows]``.
        shape: of the value, without its columns.
    """

    known: Known
    index: Tensor
    shape: torch.Size

    def spread(self, rows: Tensor) -> Tensor:
        """Return something of each row at every place where that row stands."""
        return rows[self.index].reshape(*self.shape, rows.shape[-1])


def different_rows(value: Known) -> Rows | None:
    """Return the rows of a value that differ from the one before; None if most of them do.

    Args:
        value: along its last dimension lie the columns.
    """
    columns = value.numbers.shape[-1] if value.numbers.dim() else 0
    if not columns or value.numbers.numel() < 2 * columns:
        return None
    varies, numbers = value.varies.reshape(-1, columns), value.numbers.reshape(-1, columns)
    changes = (varies[1:] != varies[:-1]).any(1) | (numbers[1:] != numbers[:-1]).any(1)
    index = torch.cat([changes.new_zeros(1, dtype=torch.long), changes.cumsum(0)])
    if 2 * int(index[-1] + 1) > len(numbers):
        return None
    starts = torch.cat([changes.new_ones(1), changes])
    return Rows(Known(varies[starts], numbers[starts]), index, value.numbers.shape[:-1])
