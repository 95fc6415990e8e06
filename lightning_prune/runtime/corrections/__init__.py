"""Corrections of single calls in a user's source: frozen data that runs in compact models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lightning_prune.runtime.corrections.base import CallCorrection, Correction
from lightning_prune.runtime.corrections.callers import Unchanged, Unseen
from lightning_prune.runtime.corrections.cases import Cases, numbers_given, places_of
from lightning_prune.runtime.corrections.cuts import CutBounds, Recut, Renarrow
from lightning_prune.runtime.corrections.methods import ZERO, Form, GiveBack, form_of
from lightning_prune.runtime.corrections.norms import WidenGroupNorm, WidenLayerNorm, WidenRMSNorm
from lightning_prune.runtime.corrections.numbers import (
    ArgumentPin,
    Pin,
    PinArguments,
    RescaleMean,
    ScaleAttention,
    TensorOf,
)
from lightning_prune.runtime.corrections.operands import (
    OperandCorrection,
    Pick,
    Refill,
    SquareCentred,
)
from lightning_prune.runtime.corrections.rows import ReadRows
from lightning_prune.runtime.corrections.sizes import PadWidth, Repad, Resize, Resplit, SizeFactor
from lightning_prune.runtime.corrections.sums import KeepTerm

KINDS: dict[str, type[Correction]] = {
    kind.kind: kind
    for kind in (
        Resize,
        Resplit,
        Repad,
        Recut,
        Renarrow,
        Pin,
        PinArguments,
        TensorOf,
        RescaleMean,
        ScaleAttention,
        WidenLayerNorm,
        WidenRMSNorm,
        WidenGroupNorm,
        KeepTerm,
        Pick,
        Refill,
        SquareCentred,
        GiveBack,
        ReadRows,
        Cases,
        Unchanged,
        Unseen,
    )
}
"""Every correction by its name in files."""


def correction_from_json(data: Any) -> Correction:
    """Return a correction from plain data, such as JSON gives.

    Args:
        data: what `Correction.to_json` returned.

    Raises:
        ValueError: if it is no correction, or one with values that it cannot have.
    """
    name = data.get("kind") if isinstance(data, Mapping) else None
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(
            f"Expected a correction to be one of {', '.join(sorted(KINDS))}, but got {name!r}. "
            "Write the file with `save_compact` of this version."
        )
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    try:
        return kind(**{key: _as_tuples(value) for key, value in data.items() if key != "kind"})
    except (TypeError, RecursionError) as error:  # others, or a number in place of several
        raise ValueError(
            f"Expected the values of {name} to be {', '.join(names)}, but got {str(data)[:100]}. "
            "Write the file with `save_compact` of this version."
        ) from error


def _as_tuples(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" in value:  # one of several cases
        return correction_from_json(value)
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


__all__ = [
    "KINDS",
    "ZERO",
    "ArgumentPin",
    "CallCorrection",
    "Cases",
    "Correction",
    "CutBounds",
    "Form",
    "GiveBack",
    "KeepTerm",
    "OperandCorrection",
    "PadWidth",
    "Pick",
    "Pin",
    "PinArguments",
    "ReadRows",
    "Recut",
    "Refill",
    "Renarrow",
    "Repad",
    "RescaleMean",
    "Resize",
    "Resplit",
    "ScaleAttention",
    "SizeFactor",
    "SquareCentred",
    "TensorOf",
    "Unchanged",
    "Unseen",
    "WidenGroupNorm",
    "WidenLayerNorm",
    "WidenRMSNorm",
    "correction_from_json",
    "form_of",
    "numbers_given",
    "places_of",
]
