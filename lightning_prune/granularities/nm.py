"""N:M sparsity: of every m weights in a row, n stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.arguments import check_integer
from lightning_prune.granularities.base import Granularity
from lightning_prune.units.group import Axis, Group, Member, Structure


@dataclass(frozen=True)
class NM(Granularity):
    """A unit is a single weight, and of every ``m`` neighbours along the inputs ``n`` stay.

    ``NM(2, 4)`` is what ``torch.sparse.to_sparse_semi_structured`` and sparse tensor cores take.
    Ask for a sparsity of exactly ``1 - n / m``: with less, some rows of ``m`` keep more than
    ``n``; more is out of reach. Before the end of a schedule, too, no ``m`` neighbours lose more.

    Every floating-point parameter of two or more dimensions is one group; neighbours are counted
    along the second dimension, the inputs. One with a number of inputs that is no multiple of
    ``m`` is left alone, and the report says so.

    Mishra et al., 2021, "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378.

    Args:
        n: weights that stay, at least 1.
        m: of how many, more than ``n``.

    Raises:
        ValueError: if ``n`` or ``m`` is outside its range.
    """

    n: int = 2
    m: int = 4

    needs_coupling: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_integer("n", self.n, 1, "It counts weights.")
        check_integer("m", self.m, self.n + 1, "It counts weights, of which `n` stay.")

    @override
    def groups(self, weights: Mapping[str, Tensor], structure: Structure) -> list[Group]:
        """Return one group for each weight tensor with a multiple of ``m`` inputs."""
        groups = []
        for name, weight in weights.items():
            if weight.is_floating_point() and weight.dim() >= 2 and weight.shape[1] % self.m == 0:
                # Units lie in the order of the inputs, so that every m in a row are neighbours; of
                # a plain matrix that is the order of the memory.
                matrix = weight.shape[2:].numel() == 1
                positions = None if matrix else _along_inputs(weight.shape)
                member = Member(Axis(name, -1), "out", weight.numel(), positions)
                groups.append(Group(name, weight.numel(), (member,)))
        return groups

    @override
    def refused(self, weights: Mapping[str, Tensor]) -> dict[str, str]:
        """Return the parameters whose inputs are no multiple of ``m``."""
        return {
            name: f"it has {weight.shape[1]} inputs, which is no multiple of {self.m}"
            for name, weight in weights.items()
            if weight.is_floating_point() and weight.dim() >= 2 and weight.shape[1] % self.m
        }

    @override
    def floor(self, group: Group) -> int:
        """Return ``n`` of every ``m`` units."""
        return group.units // self.m * self.n

    @override
    def protected(self, group: Group, scores: Tensor) -> Tensor:
        """Return the ``n`` best of every ``m`` neighbours; of equal ones the last."""
        order = torch.argsort(scores.view(-1, self.m), dim=1, stable=True)
        stays = torch.zeros_like(order, dtype=torch.bool)
        return stays.scatter_(1, order[:, self.m - self.n :], True).flatten()


def _along_inputs(shape: torch.Size) -> Tensor:
    """Return the flat positions with the inputs as the last dimension, shape ``[numel, 1]``."""
    return torch.arange(shape.numel()).view(shape).movedim(1, -1).reshape(-1, 1)
