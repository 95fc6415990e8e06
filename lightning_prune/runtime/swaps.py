"""Swaps: which of torch's layers become which of ours, by their class alone.

A swap is frozen data. The layer keeps its parameters, buffers, hooks and attributes; only layers
that are exactly of torch's own class are swapped, so that nothing that a user overrides is lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import nn
from typing_extensions import override

from lightning_prune.runtime.attention import TensorSizedAttention, can_take_sizes_from_tensors
from lightning_prune.runtime.corrections.base import is_size, require
from lightning_prune.runtime.encoder import TensorSizedEncoder
from lightning_prune.runtime.norms import PLAIN


class Swap(ABC):
    """Another class for one layer; leaves are frozen dataclasses."""

    kind: ClassVar[str]
    """The name of the class in files."""

    @abstractmethod
    def fits(self, module: nn.Module) -> bool:
        """Tell whether a module, as it is now, can take the other class."""

    def fits_full_size(self, module: nn.Module) -> bool:
        """Tell whether a module fits of which nothing is gone yet."""
        return self.fits(module)

    @abstractmethod
    def class_for(self, module: nn.Module) -> type[nn.Module]:
        """Return the class that a fitting module takes."""

    @property
    @abstractmethod
    def attributes(self) -> Mapping[str, Any]:
        """What the module has to hold besides."""

    def to_json(self) -> dict[str, Any]:
        """Return the class and the values as plain data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind, **values}


@dataclass(frozen=True)
class SizeByTensors(Swap):
    """An attention takes its sizes from its tensors."""

    kind: ClassVar[str] = "size_by_tensors"

    @override
    def fits(self, module: nn.Module) -> bool:
        """Tell whether it is torch's attention, with nothing that needs fixed sizes."""
        return can_take_sizes_from_tensors(module)

    @override
    def class_for(self, module: nn.Module) -> type[nn.Module]:
        """Return the attention without fixed sizes."""
        return TensorSizedAttention

    @property
    @override
    def attributes(self) -> Mapping[str, Any]:
        """Keep its owner from handing its parameters to a fused kernel that counts on the sizes."""
        return {"_qkv_same_embed_dim": False}


@dataclass(frozen=True)
class EncodeByTensors(Swap):
    """An encoder does without nested tensors, for layers of any size."""

    kind: ClassVar[str] = "encode_by_tensors"

    @override
    def fits(self, module: nn.Module) -> bool:
        """Tell whether it is torch's encoder."""
        return type(module) is nn.TransformerEncoder

    @override
    def class_for(self, module: nn.Module) -> type[nn.Module]:
        """Return the encoder for layers of any size."""
        return TensorSizedEncoder

    @property
    @override
    def attributes(self) -> Mapping[str, Any]:
        """Return nothing: what it holds stays."""
        return {}


_WIDE = {plain: wide for wide, plain in PLAIN.items()}


@dataclass(frozen=True)
class WidenNorm(Swap):
    """A norm goes on normalising over the width that there was.

    Args:
        full_width: features that there were.
    """

    kind: ClassVar[str] = "widen_norm"

    full_width: int

    def __post_init__(self) -> None:
        require(is_size(self.full_width, 1), "full_width", "a width", self.full_width)

    @override
    def fits(self, module: nn.Module) -> bool:
        """Tell whether it is torch's norm of one dimension, with a weight, of no larger width."""
        weight = module._parameters.get("weight")
        if isinstance(module, nn.GroupNorm) and module.num_groups != 1:
            return False
        has_one_width = weight is not None and weight.dim() == 1
        return type(module) in _WIDE and has_one_width and len(weight) <= self.full_width  # type: ignore[arg-type]

    @override
    def fits_full_size(self, module: nn.Module) -> bool:
        """Tell whether it has just the full width."""
        return self.fits(module) and len(module._parameters["weight"]) == self.full_width  # type: ignore[arg-type]

    @override
    def class_for(self, module: nn.Module) -> type[nn.Module]:
        """Return the wide norm of the same kind."""
        return _WIDE[type(module)]

    @property
    @override
    def attributes(self) -> Mapping[str, Any]:
        """Return the full width."""
        return {"full_width": self.full_width}


CLASSES: tuple[type[nn.Module], ...] = (
    TensorSizedAttention,
    TensorSizedEncoder,
    *_WIDE.values(),
)
"""Every class that a layer may take."""

SWAPS: dict[str, type[Swap]] = {
    kind.kind: kind for kind in (SizeByTensors, EncodeByTensors, WidenNorm)
}
"""Every swap by its name in files."""


def swap_from_json(data: Any) -> Swap:
    """Return a swap from plain data, such as JSON gives.

    Args:
        data: what `Swap.to_json` returned.

    Raises:
        ValueError: if it is no swap, or one with values that it cannot have.
    """
    name = data.get("kind") if isinstance(data, Mapping) else None
    kind = SWAPS.get(name) if isinstance(name, str) else None
    values = {key: value for key, value in data.items() if key != "kind"} if kind else {}
    if kind is None or values.keys() != {field.name for field in fields(kind)}:  # type: ignore[arg-type]
        raise ValueError(
            f"Expected a swap to be one of {', '.join(sorted(SWAPS))} with its values, but got "
            f"{data!r}. Write the file with `save_compact` of this version."
        )
    return kind(**values)
