"""Sparsities given for each position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from lightning_prune.arguments import check_kind, check_number
from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.window import Window, points


@dataclass(frozen=True)
class Steps(Schedule):
    """Set the sparsity at given positions.

    Give ``epochs`` or ``steps``: which share of the final sparsity is in force from each position
    on. In a configuration file: ``epochs: {2: 0.5, 8: 1.0}``.

    Args:
        epochs: share of the final sparsity, in [0, 1], from each epoch on; it never falls and ends
            with 1.
        steps: the same, for optimizer steps.

    Raises:
        ValueError: unless exactly one of the two is given, with positions of at least 0 and shares
            that never fall and end with 1.
        TypeError: if it is no dict of numbers.

    Examples:
        >>> schedule = Steps(epochs={2: 0.5, 8: 1.0})
        >>> [schedule.sparsity(epoch, final=0.8) for epoch in (1, 2, 7, 8)]
        [0.0, 0.4, 0.4, 0.8]
    """

    epochs: dict[int, float] | None = None
    steps: dict[int, float] | None = None

    def __post_init__(self) -> None:
        for argument, given in (("epochs", self.epochs), ("steps", self.steps)):
            if given is not None:
                check_kind(argument, given, Mapping)
        argument = f"{self.window.period}s"
        shares = [self._shares[position] for position in self.window.positions]
        for share in shares:
            check_number(argument, share, 0.0, "It is a share of the final sparsity.")
        if shares != sorted(shares) or shares[-1] != 1.0:
            raise ValueError(
                f"Expected `{argument}` to be shares of the final sparsity that never fall and end "
                f"with 1, but got {shares}. They are shares, not sparsities: "
                "`Steps(epochs={2: 0.5, 8: 1.0})`."
            )

    @property
    @override
    def window(self) -> Window:
        """The given positions."""
        return points(
            None if self.epochs is None else list(self.epochs),
            None if self.steps is None else list(self.steps),
        )

    @override
    def level(self, due: int, final: float) -> float:
        """Return the given share of the final sparsity."""
        return final * self._shares[due]

    @property
    def _shares(self) -> dict[int, float]:
        return self.epochs or self.steps or {}
