"""The weights: the parameters of a model on which the units of groups lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_prune.errors import TargetError
from lightning_prune.modules.names import parameters_by_any_name
from lightning_prune.modules.shards import check_shards
from lightning_prune.units.group import Group


def weights_of(model: nn.Module, groups: Sequence[Group]) -> dict[str, Tensor]:
    """Return the parameters on which the units lie.

    Args:
        model: any module.
        groups: groups of its units.

    Returns:
        The parameters, by the names that the groups use, in the order of the groups.

    Raises:
        TargetError: if they are sharded in several ways or lie on several devices.
    """
    parameters = parameters_by_any_name(model)
    names = dict.fromkeys(m.axis.tensor for group in groups for m in group.parameters)
    weights: dict[str, Tensor] = {name: parameters[name] for name in names}
    check_shards(weights.values())
    devices = {str(weight.device) for weight in weights.values()}
    if len(devices) > 1:
        raise TargetError(
            f"Expected all prunable parameters to be on one device, but got {sorted(devices)}. "
            "Exclude the modules on the others."
        )
    return weights


def binds(
    model: nn.Module, weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> bool:
    """Return whether a model still has these very parameters, in these shapes.

    Args:
        model: any module.
        weights: parameters, by name.
        shapes: what their shapes were, by name.
    """
    parameters = parameters_by_any_name(model)
    return all(
        parameters.get(name) is weight and weight.shape == shapes[name]
        for name, weight in weights.items()
    )
