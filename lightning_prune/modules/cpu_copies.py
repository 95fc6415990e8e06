"""Copies on the CPU, for weights that are put back later; they take no memory of an accelerator."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_prune.errors import TargetError
from lightning_prune.modules.shards import is_sharded


def cpu_copies(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of tensors on the CPU, and of what else a state dict holds, by the same names.

    Args:
        values: parameters, or a whole state dict.

    Returns:
        Copies in memory of their own; those of tensors are detached.

    Raises:
        TargetError: if a tensor is sharded: a part would be put back in place of the whole.
    """
    sharded = [n for n, v in values.items() if isinstance(v, Tensor) and is_sharded(v)]
    if sharded:
        raise TargetError(
            "Expected tensors that are whole on every rank, to put them back later, but got "
            f"sharded ones, such as {sharded[0]}. Train under DDP or on one device."
        )
    return {name: _cpu_copy(value) for name, value in values.items()}


def _cpu_copy(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    return copy.deepcopy(value)
