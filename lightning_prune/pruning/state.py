"""The state of a pruner: which one it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_prune.modules.names import plain_name
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
