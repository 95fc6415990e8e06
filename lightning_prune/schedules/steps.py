"""Sparsities given for each position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from typing_extensions import override

from lightning_prune.arguments import check_kind, check_number
from lightning_prune.schedules.base import Schedule
from lightning_prune.schedules.fractions import check_fractions
from lightning_prune.schedules.window import Window, points


@dataclass(frozen=True, repr=False)
class Steps(Schedule):
    """Set the sparsity at given positions.

    Give ``epochs``, ``steps`` or ``fractions``: which share of the final sparsity is in force from
    each position on. In a configuration file: ``epochs: {2: 0.5, 8: 1.0}``.

    Args:
        epochs: share of the final sparsity, in [0, 1], from each epoch on; it never falls and ends
            with 1.
        steps: the same, for optimizer steps.
        fractions: the same, for fractions of the training, in [0, 1).

    Raises:
        ValueError: unless exactly one of them is given, with positions in range and shares
            that never fall and end with 1.
        TypeError: if it is no dict of numbers.

    Examples:
        >>> schedule = Steps(epochs={2: 0.5, 8: 1.0})
        >>> [schedule.sparsity(epoch, final=0.8) for epoch in (1, 2, 7, 8)]
        [0.0, 0.4, 0.4, 0.8]
    """

    epochs: dict[int, float] | None = None
    steps: dict[int, float] | None = None
    fractions: dict[float, float] | None = None

    def __post_init__(self) -> None:
        for given, value in vars(self).items():
            if value is not None:
                check_kind(given, value, Mapping)
        argument = "fractions" if self.in_fractions else f"{self.window.period}s"
        for fraction in self.fractions or ():
            check_fractions(self, fractions=fraction)
        shares = [share for _, share in sorted(self._shares.items())]
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
        self.refuse_fractions()
        return points(
            None if self.epochs is None else list(self.epochs),
            None if self.steps is None else list(self.steps),
        )

    @property
    @override
    def in_fractions(self) -> bool:
        """Whether the positions are fractions."""
        return bool(self.fractions)

    @override
    def in_steps(self, steps: int) -> Self:
        """Return the same shares in steps; of fractions that are one step, the last counts."""
        shares = {round(f * steps): share for f, share in sorted(self._shares.items())}
        return replace(self, fractions=None, steps=shares)

    @override
    def level(self, due: int, final: float) -> float:
        """Return the given share of the final sparsity."""
        return final * self._shares[due]

    @property
    def _shares(self) -> Mapping[Any, float]:
        return self.epochs or self.steps or self.fractions or {}
