"""The weights: the parameters of a model on which the units of groups lie."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_prune.errors import TargetError
from lightning_prune.names import parameters_by_any_name
from lightning_prune.units import Group


def weights_of(model: nn.Module, groups: Sequence[Group]) -> dict[str, Tensor]:
    """Return the parameters on which the units lie.

    Args:
        model: any module.
        groups: groups of its units.

    Returns:
        The parameters, by the names that the groups use, in the order of the groups.

    Raises:
        TargetError: if they are sharded or lie on several devices.
    """
    parameters = parameters_by_any_name(model)
    names = dict.fromkeys(m.axis.tensor for group in groups for m in group.parameters)
    weights: dict[str, Tensor] = {name: parameters[name] for name in names}
    if any(hasattr(weight, "full_tensor") for weight in weights.values()):
        raise TargetError(
            "Expected parameters that are whole on every rank, but got sharded ones (DTensor). "
            "Prune under DDP or on one device."
        )
    devices = {str(weight.device) for weight in weights.values()}
    if len(devices) > 1:
        raise TargetError(
            f"Expected all prunable parameters to be on one device, but got {sorted(devices)}. "
            "Exclude the modules on the others."
        )
    return weights
