"""Checkpoints of a compact model, as a Trainer writes them: they hold its plan, too.

The plan is the text that `save_compact` writes. All of it is text and tensors, so that
``weights_only=True`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import nn

from lightning_prune.compaction.compact_file import (
    FORMAT,
    CompactFile,
    plan_from_text,
    plan_to_text,
    require_format,
)
from lightning_prune.compaction.fitting import tensors_of
from lightning_prune.compaction.plan import Plan
from lightning_prune.compaction.records import plan_of

KEY = "lightning_prune"
"""Where a checkpoint holds the plan, and the buffers that it cuts and no state dict holds."""


def add_plan(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Write the plan of a compact model into its checkpoint; of a model of full size, nothing.

    Args:
        model: the model.
        checkpoint: what is to be saved, with its ``state_dict``.
    """
    plan = plan_of(model)
    if plan == Plan():
        return
    missing = {
        name: tensor.detach().clone()
        for name, tensor in tensors_of(model, plan).items()
        if name not in checkpoint["state_dict"]
    }
    checkpoint[KEY] = {"format": FORMAT, "plan": plan_to_text(plan), "tensors": missing}


def is_compact(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint is of a compact model."""
    return KEY in checkpoint


def compact_file_in(checkpoint: Mapping[str, Any]) -> CompactFile | None:
    """Return what a checkpoint holds of a compact model; None if it has no plan.

    Raises:
        ValueError: if the plan is not of the form that it must have.
    """
    if not is_compact(checkpoint):
        return None
    match checkpoint[KEY]:
        case {"format": found, "plan": str(text), "tensors": dict(missing)}:
            require_format(found)
            tensors = {**missing, **checkpoint["state_dict"]}
            return CompactFile(tensors, {}, plan_from_text(text), {})
    raise ValueError(
        f"Expected {KEY!r} of the checkpoint to hold a format, a plan and tensors, but got "
        f"{str(checkpoint[KEY])[:100]}. Save the compact model again."
    )


def read_checkpoint(path: str | PathLike[str]) -> CompactFile:
    """Read a checkpoint of a compact model.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        ValueError: if it cannot be read without running code, or has no plan.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        found = compact_file_in(checkpoint)
    except Exception as error:  # whatever a damaged file makes of it
        raise ValueError(
            f"Expected `path` to be a checkpoint of tensors and plain data, but got one that "
            f"cannot be read: {error}. What it holds besides tensors must be numbers and texts."
        ) from error
    if found is None:
        raise ValueError(
            "Expected `path` to be a checkpoint of a compact model with its plan, but got one "
            "without. Save it by a Trainer with `Compaction`, or make the class of the module "
            "`compactable`; one of a model of full size is loaded by `load_from_checkpoint`."
        )
    return found
