"""Sparsity: which fraction of a module's parameters is exactly zero.

It reads the weights themselves, so it does not matter what made the zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.arguments import check_integer, check_list, check_model
from lightning_prune.display.tables import format_table
from lightning_prune.modules.names import parameters_by_name, plain_name
from lightning_prune.modules.patterns import check_patterns, matches
from lightning_prune.modules.shards import whole


@dataclass(frozen=True)
class Sparsity:
    """Fractions of exact zeros, whoever made them, in parameters that can be pruned or not.

    Args:
        parameters: name in the state dict → fraction of exact zeros, in [0, 1].
        zeros: exact zeros in all of these parameters.
        elements: elements of all of these parameters.
    """

    parameters: Mapping[str, float]
    zeros: int
    elements: int

    @property
    def total(self) -> float:
        """Fraction of exact zeros in all of these parameters, in [0, 1]; 0 if there are none."""
        return self.zeros / self.elements if self.elements else 0.0

    @override
    def __str__(self) -> str:
        rows = [[name, f"{fraction:.4f}"] for name, fraction in self.parameters.items()]
        return format_table(["parameter", "exact zeros"], [*rows, ["total", f"{self.total:.4f}"]])


def measure_sparsity(
    model: nn.Module,
    *,
    min_ndim: int = 0,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> Sparsity:
    """Measure the fraction of exact zeros in every floating-point parameter.

    What cannot be pruned counts as well, and so do frozen parameters: the sparsity that `Pruning`
    reaches is a fraction of what it may prune, and so is usually larger.

    Tied parameters count once, under their first name. Sharded parameters are counted over all
    ranks, which must therefore call this together.

    Args:
        model: any module; names of compiled modules come without ``_orig_mod.``.
        min_ndim: leave out parameters with fewer dimensions, at least 0; 2 leaves out biases and
            the scales of normalisations, many of which start at zero.
        include: glob patterns of the names of modules whose parameters count; None for all.
        exclude: glob patterns of the names of modules to leave out.

    Returns:
        The fractions by name.

    Raises:
        ValueError: if ``min_ndim`` is negative, or a pattern names no module.
        TypeError: if an argument is of another type.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> _ = nn.init.zeros_(layer.bias)
        >>> measure_sparsity(layer).parameters
        {'weight': 0.0, 'bias': 1.0}
    """
    check_model(model)
    check_min_ndim(min_ndim)
    check_names(model, include, exclude)
    measured = {
        name: parameter.detach()
        for name, parameter in parameters_by_name(model).items()
        if parameter.is_floating_point()
        and parameter.ndim >= min_ndim
        and _counts(name.rpartition(".")[0], include, exclude)
    }
    zeros = _count_zeros(list(measured.values()))
    counts = zip(measured.items(), zeros, strict=True)
    return Sparsity(
        # An empty parameter holds no zeros.
        {name: count / max(p.numel(), 1) for (name, p), count in counts},
        zeros=sum(zeros),
        elements=sum(parameter.numel() for parameter in measured.values()),
    )


def check_min_ndim(min_ndim: int) -> None:
    """Check the argument of `measure_sparsity`, for callers that keep it for later.

    Raises:
        ValueError: if it is negative, or no integer.
    """
    cure = "Use 0 for every parameter and 2 for weights without biases."
    check_integer("min_ndim", min_ndim, 0, cure)


def check_names(
    model: nn.Module, include: Sequence[str] | None, exclude: Sequence[str] = ()
) -> None:
    """Check the patterns of `measure_sparsity`, for callers that keep them for later.

    Raises:
        ValueError: if one names no module of ``model``.
        TypeError: if they are no lists of strings.
    """
    names = [plain_name(name) for name, module in model.named_modules()]
    for argument, patterns in (("include", include or ()), ("exclude", exclude)):
        check_list(argument, patterns)
        check_patterns(argument, patterns, names)


def _counts(module: str, include: Sequence[str] | None, exclude: Sequence[str]) -> bool:
    return (include is None or matches(module, include)) and not matches(module, exclude)


def _count_zeros(tensors: list[Tensor]) -> list[int]:
    """Count the zeros of each tensor in one transfer from the device."""
    if not tensors:
        return []
    counts = [whole((tensor == 0).sum()) for tensor in tensors]
    return [int(n) for n in torch.stack([c.to(counts[0].device) for c in counts]).tolist()]
