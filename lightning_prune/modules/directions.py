"""Directions: parameters that a weight norm divides by their lengths.

A weight is a length times a direction, `Salimans and Kingma, 2016 <https://arxiv.org/abs/1602.07868>`_.
A direction of zeros has no length, and what is divided by that is no number.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.weight_norm import WeightNorm


def directions_of(model: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Yield the parameters that are divided by their norms.

    Args:
        model: any module.

    Yields:
        Each with the dimension along which there is a norm for every position; -1 if there is one
        norm of all of it.
    """
    for module in model.modules():
        if isinstance(module, ParametrizationList) and isinstance(module[0], _WeightNorm):
            yield module.get_parameter("original1"), module[0].dim
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                yield module.get_parameter(f"{hook.name}_v"), hook.dim
