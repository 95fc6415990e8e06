"""What a copy of a LightningModule keeps of the Trainer that the original is attached to.

A copy asks the same Trainer, for the epoch for example. It logs nothing, since what it computes is
no result of the training. Nothing here imports lightning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn


def attach_like(originals: Iterable[nn.Module], copies: Mapping[int, Any]) -> None:
    """Attach copies of LightningModules to the Trainers of the originals.

    Args:
        originals: any modules.
        copies: those of the modules, by the id of the original.
    """
    for original in originals:
        copied = copies.get(id(original))
        if copied is not None and "_trainer" in vars(original) and hasattr(original, "log_dict"):
            _attach(copied, vars(original)["_trainer"])


def _attach(copied: nn.Module, trainer: Any) -> None:
    vars(copied).update(_trainer=trainer, log=_ignore, log_dict=_ignore)
    if getattr(trainer, "world_size", 1) > 1:
        vars(copied)["all_gather"] = _refuse_to_gather


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Log nothing."""


def _refuse_to_gather(*args: Any, **kwargs: Any) -> None:
    """Do not wait for other ranks, which may run no copy.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("a copy of the model runs on one rank alone and cannot gather from others")
