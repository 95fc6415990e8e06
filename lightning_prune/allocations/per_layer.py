"""A sparsity for every layer, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.allocations.base import Allocation, quantiles
from lightning_prune.allocations.sensitivity import Sensitivity
from lightning_prune.arguments import check_kind, check_list, check_sparsity
from lightning_prune.modules.names import plain_name
from lightning_prune.modules.patterns import matches
from lightning_prune.units.group import Group


@dataclass(frozen=True)
class PerLayer(Allocation):
    r"""Share the sparsity in given proportions.

    .. math:: 1 - s_g = (1 - \hat{s}_g)^\lambda

    where :math:`\hat{s}_g` is the sparsity given for a layer, and :math:`\lambda` is the same for
    all layers, such that the sparsity asked for is reached. If the given sparsities add up to it,
    :math:`\lambda` is 1 and every layer gets exactly its own; for any other total, as before the
    end of a schedule, they keep their proportions.

    Args:
        max_sparsity: the largest fraction that a single group may lose, in (0, 1].
        sparsities: glob pattern of module names → sparsity, in [0, 1); the first that matches a
            module that writes a group counts. A pattern that matches no pruned module is refused
            as soon as the groups are known.
        default: sparsity of the groups that no pattern matches, in [0, 1).

    Raises:
        ValueError: if a sparsity is outside its range.
        TypeError: if ``sparsities`` is no dict of numbers under patterns.
    """

    within_groups: ClassVar[bool] = True

    sparsities: dict[str, float] = field(default_factory=dict)
    default: float = 0.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_sparsity(self.default, "default")
        check_kind("sparsities", self.sparsities, Mapping)
        check_list("sparsities", list(self.sparsities))
        for pattern, sparsity in self.sparsities.items():
            check_sparsity(sparsity, f"sparsities[{pattern!r}]")

    @classmethod
    def from_sensitivity(
        cls,
        report: Sensitivity,
        *,
        max_drop: float,
        higher_is_better: bool = True,
        max_sparsity: float = 1.0,
    ) -> PerLayer:
        """Give every layer the highest sparsity that it tolerates by itself.

        All layers pruned together lose more than each alone; only the proportions matter.

        Args:
            report: what `sensitivity` has measured.
            max_drop: how much worse than the dense model is allowed, in the unit of the metric.
            higher_is_better: of the metric.
            max_sparsity: the largest fraction that a single group may lose, in (0, 1].

        Returns:
            The allocation.

        Raises:
            ValueError: if a number is outside its range.
            TypeError: if an argument is of another type.
        """
        check_kind("report", report, Sensitivity)
        tolerated = report.tolerated(max_drop, higher_is_better=higher_is_better)
        # Groups of single weights are named by parameters, patterns match modules.
        names = {name.removesuffix(".weight"): sparsity for name, sparsity in tolerated.items()}
        return cls(names, max_sparsity=max_sparsity)

    @override
    def check(self, groups: Sequence[Group]) -> None:
        """Refuse patterns that match no pruned module, and sparsities that are zero everywhere."""
        pruned = [plain_name(writer) for group in groups for writer in group.writers]
        for pattern in self.sparsities:
            if not any(matches(name, [pattern]) for name in pruned):
                raise ValueError(
                    f"Expected every pattern of `sparsities` to match a module that is pruned, "
                    f"but got '{pattern}', which matches none of {', '.join(pruned)}. Correct "
                    "or drop it."
                )
        if not any(self._sparsity(list(map(plain_name, group.writers))) for group in groups):
            raise ValueError(
                "Expected `sparsities` or `default` to be above 0 for a module that is pruned, but "
                f"got {self.sparsities} and {self.default} for {', '.join(pruned)}. Give one a "
                "sparsity."
            )

    @override
    def priorities(
        self, scores: Sequence[Tensor], groups: Sequence[Group], shapes: Mapping[str, torch.Size]
    ) -> list[Tensor]:
        r"""Return the :math:`\lambda` at which each unit is removed."""
        writers = [[plain_name(writer) for writer in group.writers] for group in groups]
        return [
            _priorities(group_scores, self._sparsity(names))
            for group_scores, names in zip(scores, writers, strict=True)
        ]

    def _sparsity(self, names: Sequence[str]) -> float:
        """Return the sparsity given for a group that these modules write."""
        for pattern, sparsity in self.sparsities.items():
            if any(matches(name, [pattern]) for name in names):
                return sparsity
        return self.default


def _priorities(scores: Tensor, sparsity: float) -> Tensor:
    """Return log(1 - q) / log(1 - s) for each quantile q; +inf where the group stays."""
    if sparsity == 0.0:
        return torch.full_like(scores, torch.inf)
    return torch.log1p(-quantiles(scores)) / math.log1p(-sparsity)
