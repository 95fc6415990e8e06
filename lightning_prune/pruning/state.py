"""The state of a pruner: which one it fits, and what a resumed run must have in common with it.

Plain tensors and primitives only, so that a checkpoint loads with ``weights_only=True``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from lightning_prune.modules.names import plain_name
from lightning_prune.pruning.recipe import Recipe
from lightning_prune.schedules import Schedule
from lightning_prune.units.group import Group

VERSION = 1


def check_groups_match(state: Mapping[str, Any], groups: Sequence[Group]) -> None:
    """Refuse a state of other groups or of another version.

    Args:
        state: what a pruner has stored.
        groups: those of this one.

    Raises:
        ValueError: if it does not fit.
    """
    if state["version"] != VERSION:
        raise ValueError(
            f"Expected the pruning state to be of version {VERSION}, but got "
            f"{state['version']}. Resume with the release that wrote the checkpoint."
        )
    mine = {plain_name(group.name): group.units for group in groups}
    stored = dict(zip(state["groups"], state["units"], strict=True))
    wrong = [
        f"{name} with {stored.get(name, 'no')} units instead of {mine.get(name, 'none')}"
        for name in dict.fromkeys([*mine, *stored])
        if mine.get(name) != stored.get(name)
    ]
    if wrong or list(mine) != list(stored):
        raise ValueError(
            f"Expected the pruning state to be of the groups {', '.join(mine)}, but got "
            f"{'; '.join(wrong[:5]) or 'another order'}. Resume with the model, granularity, "
            "`include` and `exclude` of the run that wrote the checkpoint; a model that has become "
            "compact since trains on without this pruning."
        )


def options_of(recipe: Recipe, schedule: Schedule) -> dict[str, str]:
    """Return what decides about the masks, as text: equal options give equal masks.

    Args:
        recipe: what to prune.
        schedule: when, and how much.

    Returns:
        The options by the names of their arguments.
    """
    options = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    for patterns in ("include", "exclude"):  # a configuration file makes lists of tuples
        if options[patterns] is not None:
            options[patterns] = list(options[patterns])
    return {name: repr(value) for name, value in options.items()} | {"schedule": repr(schedule)}


def check_resumable(name: str, state: Mapping[str, Any], options: Mapping[str, str]) -> None:
    """Refuse the state of another version, or of a run with other options.

    Args:
        name: of what has stored it.
        state: what that was.
        options: those of this run.

    Raises:
        ValueError: if it does not fit.
    """
    if state["version"] != VERSION:
        raise ValueError(
            f"Expected the state of `{name}` to be of version {VERSION}, but got "
            f"{state['version']}. Resume with the release that wrote the checkpoint."
        )
    stored = state["options"]
    differing = [key for key, value in options.items() if stored.get(key) != value]
    if differing:
        mine = ", ".join(f"{key}={options[key]}" for key in differing)
        theirs = ", ".join(f"{key}={stored.get(key)}" for key in differing)
        raise ValueError(
            f"Expected `{name}` to have the options of the checkpoint, {theirs}, but got {mine}. "
            "Resume with those (fractions of a schedule are of a training of the same length), or "
            "start a new fit from the weights alone."
        )
