"""Lightning's namespaces: `lightning`, and `pytorch_lightning` where that is installed as well.

They hold the same classes twice. Objects of either are welcome, so a class of Lightning's is looked
up here wherever more than a type hint needs it.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import lightning.pytorch
from lightning_utilities.core import rank_zero


def _imported() -> list[ModuleType]:
    """Return the namespaces there are."""
    log, category = rank_zero.log, rank_zero.rank_zero_deprecation_category
    try:
        import pytorch_lightning
    except Exception:  # not installed, or too old for this torch; `lightning` works without
        return [lightning.pytorch]
    # What `lightning` logs would go to the logger of the namespace that was imported last.
    rank_zero.log, rank_zero.rank_zero_deprecation_category = log, category
    return [lightning.pytorch, pytorch_lightning]


_NAMESPACES = _imported()


def classes(folder: Literal["callbacks", "strategies"], name: str) -> tuple[Any, ...]:
    """Return the classes of one name.

    Args:
        folder: where Lightning keeps it.
        name: its name.

    Returns:
        One class of each namespace that has it.
    """
    folders = [getattr(namespace, folder) for namespace in _NAMESPACES]
    return tuple(getattr(found, name) for found in folders if hasattr(found, name))


if TYPE_CHECKING:
    from lightning import Callback as Callback
else:

    class Callback(*classes("callbacks", "Callback")):
        """The base of callbacks, which is a callback to the command line of either namespace."""
