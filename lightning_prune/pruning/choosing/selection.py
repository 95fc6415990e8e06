"""The selection: which groups may be pruned, and why the others are left alone.

A group belongs to the modules that write its units. Names are those of the uncompiled model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lightning_prune.granularities.base import Granularity
from lightning_prune.modules.names import plain_name
from lightning_prune.modules.patterns import matches
from lightning_prune.units.group import Group


@dataclass(frozen=True)
class Selection:
    """The result of `select`.

    Args:
        groups: the groups that may be pruned.
        left_alone: why each of the others is not, by group name.
    """

    groups: tuple[Group, ...]
    left_alone: dict[str, str] = field(default_factory=dict)


def select(
    groups: Sequence[Group],
    weights: Mapping[str, Tensor],
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    among: Collection[str] | None = None,
    averaged: Collection[str] = (),
) -> Selection:
    """Choose the groups that may be pruned.

    Args:
        groups: every group that could be.
        weights: every parameter, by name.
        include: glob patterns of module names; a group is chosen if any of its writers matches
            one. ``None`` chooses all.
        exclude: glob patterns of module names; a group is left alone if any of its writers
            matches one.
        among: names of groups that were chosen before: these stay chosen, frozen or not, and no
            others are. ``None`` = no choice was made yet.
        averaged: names of frozen parameters that follow trainable ones. They keep no group of
            these from being chosen.

    Returns:
        The chosen groups in their order, and a reason for each of the others.
    """
    chosen, left_alone = [], {}
    trained = {name for name, weight in weights.items() if weight.requires_grad}
    for group in groups:
        written = [m.axis.tensor for m in group.parameters if m.side == "out"]
        follow = {*averaged, *(m.axis.tensor for m in group.members if m.added)}
        followed = follow if trained.intersection(written) else ()
        frozen = [name for name in written if name not in trained and name not in followed]
        reason = (
            _reason(group, frozen, include, exclude) if among is None else _not_among(group, among)
        )
        if reason is None:
            chosen.append(group)
        else:
            left_alone[group.name] = reason
    return Selection(tuple(chosen), left_alone)


def _not_among(group: Group, among: Collection[str]) -> str | None:
    """Return why a group is left alone that was not chosen before."""
    return None if plain_name(group.name) in among else "it was left alone before"


def _reason(
    group: Group,
    frozen: Sequence[str],
    include: Sequence[str] | None,
    exclude: Sequence[str],
) -> str | None:
    """Return why a group is left alone, ``None`` if it is not."""
    writers = [plain_name(writer) for writer in group.writers]
    for writer in writers:
        if matches(writer, exclude):
            return f"`{writer}` is excluded"
    if include is not None and not any(matches(writer, include) for writer in writers):
        return "no writer is included"
    return f"`{frozen[0]}` is frozen" if frozen else None


def nothing_to_prune(left_alone: Mapping[str, str], granularity: Granularity) -> str:
    """Return the message for a model without a group to prune."""
    if granularity.absent and not left_alone:
        kind = type(granularity).__name__
        return (
            f"Expected the model to have something to prune for {kind}(), but got "
            f"{granularity.absent} `print(couple(model, example_inputs))` says what could."
        )
    reasons = "; ".join(f"{name}: {reason}" for name, reason in left_alone.items())
    return (
        "Expected the model to have something to prune, but got no group "
        f"({reasons or 'none was found'}). Widen `include`, narrow `exclude`, or unfreeze "
        "parameters; `print(couple(model, example_inputs))` says what cannot be removed and why."
    )
