"""Completion: what a plan of cuts needs besides, in attributes and classes of torch's layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from lightning_prune.compaction.plan import Attribute, Cut, Plan, SizeChange
from lightning_prune.runtime.attention import can_take_sizes_from_tensors
from lightning_prune.runtime.swaps import EncodeByTensors, SizeByTensors, Swap
from lightning_prune.units.group import Axis

GROUP_ATTRIBUTES = ("groups", "num_groups")
"""Where modules keep the number of groups of channels, which no tensor's shape tells."""


def completed(plan: Plan, model: nn.Module, grouped: Iterable[str] = ()) -> Plan:
    """Return a plan of cuts with the numbers of groups and the classes that they need.

    Args:
        plan: what stays along each axis.
        model: the model before surgery.
        grouped: weights of layers that lose whole groups along their first axis.

    Returns:
        The same cuts, and what else must change with them.
    """
    attributes = {**plan.attributes, **_group_counts(plan.axes, model, grouped)}
    swaps = {**plan.swaps, **free_attentions(model, _cut_attentions(plan.axes, model))}
    return replace(plan, attributes=attributes, swaps=swaps)


def _group_counts(
    axes: Mapping[Axis, Cut], model: nn.Module, grouped: Iterable[str]
) -> dict[Attribute, SizeChange]:
    found = {}
    for weight in sorted(grouped):
        cut = axes.get(Axis(weight, 0))
        owner = weight.rpartition(".")[0]
        module = model.get_submodule(owner)
        for name in GROUP_ATTRIBUTES:  # if none, its owner counts them in some other way
            groups = getattr(module, name, None)
            if cut is not None and type(groups) is int:
                after = groups * len(cut.kept) // cut.size
                found[Attribute(owner, name)] = SizeChange(groups, after)
    return found


def free_attentions(model: nn.Module, names: Iterable[str]) -> dict[str, Swap]:
    """Return the swaps by which attentions take their sizes from their tensors.

    Args:
        model: the model.
        names: of the attentions. Those of another class than torch's stay.

    Returns:
        Swaps of the attentions, and of the encoders around them.
    """
    found: dict[str, Swap] = {}
    for name in names:
        if can_take_sizes_from_tensors(model.get_submodule(name)):
            found[name] = SizeByTensors()
            for owner, module in model.named_modules():
                if EncodeByTensors().fits(module) and f"{name}.".startswith(
                    f"{owner}.".lstrip(".")
                ):
                    found[owner] = EncodeByTensors()
    return found


def _cut_attentions(axes: Mapping[Axis, Cut], model: nn.Module) -> list[str]:
    """Return the names of attentions of which something is cut."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    changed = {id(tensors[axis.tensor]) for axis in axes if axis.tensor in tensors}
    return [
        name
        for name, module in model.named_modules()
        if can_take_sizes_from_tensors(module)
        and not changed.isdisjoint(map(id, module.parameters()))
    ]
