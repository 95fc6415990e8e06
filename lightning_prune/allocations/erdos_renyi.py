"""Densities of a random graph: layers with few weights per node stay denser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.allocations.base import Allocation, quantiles
from lightning_prune.arguments import check_flags
from lightning_prune.units.group import Group


@dataclass(frozen=True)
class ErdosRenyi(Allocation):
    r"""Give every layer the density of an Erdős–Rényi graph, or of its form for kernels.

    .. math:: d_l = \min\left(1, \; \varepsilon \,
        \frac{n_\mathrm{in} + n_\mathrm{out} + k_1 + k_2}
        {n_\mathrm{in} \, n_\mathrm{out} \, k_1 k_2}
        \right)

    with one :math:`\varepsilon` for all layers, so that the sparsity asked for is reached. Layers
    with many weights per node lose more; some lose nothing. A group of channels counts the tensors
    that write it.

    Mocanu et al., 2018, arXiv:1707.04780; with kernels Evci et al., 2020, arXiv:1911.11134.

    Args:
        max_sparsity: the largest fraction that a single group may lose, in (0, 1].
        kernel: count the kernel sizes, too; else only the channels, in numerator and denominator.

    Raises:
        ValueError: if ``max_sparsity`` is outside its range.
        TypeError: if ``kernel`` is neither True nor False.
    """

    within_groups: ClassVar[bool] = True

    kernel: bool = True

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_flags(kernel=self.kernel)

    @override
    def priorities(
        self, scores: Sequence[Tensor], groups: Sequence[Group], shapes: Mapping[str, torch.Size]
    ) -> list[Tensor]:
        r"""Return the negative :math:`\varepsilon` at which each unit is removed."""
        # d = 1 - q at the quantile q, and epsilon = d / r at the raw density r.
        return [
            (quantiles(group_scores) - 1.0) / self._raw_density(group, shapes)
            for group_scores, group in zip(scores, groups, strict=True)
        ]

    def _raw_density(self, group: Group, shapes: Mapping[str, torch.Size]) -> float:
        """Return nodes per weight of the tensors that write a group."""
        written = [shapes[m.axis.tensor] for m in group.parameters if m.side == "out"]
        matrices = [shape if self.kernel else shape[:2] for shape in written if len(shape) > 1]
        # A group that no matrix writes, such as a scale alone, has a node for every weight.
        return sum(map(sum, matrices)) / sum(s.numel() for s in matrices) if matrices else 1.0
