"""Compactable: a LightningModule's class whose checkpoints may be of compact modules.

Lightning shows a checkpoint to callbacks when the weights are loaded already, and to the module
before. ``load_from_checkpoint`` knows no callbacks at all. So it takes hooks of the module's class.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import lightning as L
from torch import nn

from lightning_prune.callbacks.trainer.full_size import keepers
from lightning_prune.callbacks.trainer.other_callbacks import averaged_modules
from lightning_prune.compaction.checkpoints import add_plan, is_compact
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.records import plan_of
from lightning_prune.compaction.rewriting import edits_of
from lightning_prune.compaction.storage import follow_checkpoint

_Class = TypeVar("_Class", bound=type)
_MARK = "_follows_plans"


def compactable(kind: _Class) -> _Class:
    """Let the checkpoints of a LightningModule's class be of compact modules, too.

    A checkpoint of a compact module holds its plan then, whoever saves it. Where one is loaded, by
    ``load_from_checkpoint`` or ``ckpt_path``, a module of full size first becomes compact; the plan
    is checked as in `load_compact`. Checkpoints without a plan are loaded as ever. `Compaction`
    does this to the class of its module; elsewhere use it as a decorator, or call it once.

    Args:
        kind: the class; its ``on_load_checkpoint`` and ``on_save_checkpoint`` are wrapped in place.

    Returns:
        The same class.

    Raises:
        TypeError: if it is none.
    """
    if not (isinstance(kind, type) and hasattr(kind, "on_load_checkpoint")):
        raise TypeError(
            f"Expected `kind` to be a LightningModule's class, but got {kind!r}. Pass the class."
        )
    own: Any = edits_of(kind)[0]
    load, save = own.on_load_checkpoint, own.on_save_checkpoint
    if hasattr(load, _MARK):
        return kind

    @functools.wraps(load)
    def on_load_checkpoint(self: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if is_compact(checkpoint) and plan_of(self) == Plan():
            for keeper in keepers(self):
                keeper.keep_full_size(self)
        for one in (self, *_averages(self)):
            follow_checkpoint(one, checkpoint)
        load(self, checkpoint)

    @functools.wraps(save)
    def on_save_checkpoint(self: nn.Module, checkpoint: dict[str, Any]) -> None:
        add_plan(self, checkpoint)
        save(self, checkpoint)

    setattr(on_load_checkpoint, _MARK, True)
    own.on_load_checkpoint, own.on_save_checkpoint = on_load_checkpoint, on_save_checkpoint
    return kind


def _averages(module: nn.Module) -> list[nn.Module]:
    """Return the copies of a module that the callbacks of its trainer keep."""
    trainer = getattr(module, "_trainer", None)
    return [] if trainer is None else averaged_modules(trainer)
