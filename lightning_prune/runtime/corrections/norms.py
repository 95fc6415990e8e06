"""Corrections of norms: they go on normalising over the width that there was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.runtime.corrections.base import CallCorrection, Correction, is_size, require
from lightning_prune.runtime.norms import wide_group_norm, wide_layer_norm, wide_rms_norm


@dataclass(frozen=True)
class _Widen(CallCorrection):
    """Normalise over more features than there are: those that are gone were zero.

    Args:
        full_width: features that there were.
    """

    full_width: int

    def __post_init__(self) -> None:
        require(is_size(self.full_width, 1), "full_width", "a width", self.full_width)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the first width: it is the full one."""
        return self if type(later) is type(self) else None


@dataclass(frozen=True)
class WidenLayerNorm(_Widen):
    """Normalise over more features than there are: those that are gone were zero.

    Args:
        full_width: features that there were.
    """

    kind: ClassVar[str] = "widen_layer_norm"
    calls: ClassVar[frozenset[str]] = frozenset({"layer_norm"})

    @override
    def __call__(
        self,
        call: Callable[..., Any],
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        *unused: Any,
    ) -> Tensor:
        """Normalise the last dimension."""
        return wide_layer_norm(input, self.full_width, weight, bias, eps)


@dataclass(frozen=True)
class WidenRMSNorm(_Widen):
    """Normalise over more features than there are: those that are gone were zero.

    Args:
        full_width: features that there were.
    """

    kind: ClassVar[str] = "widen_rms_norm"
    calls: ClassVar[frozenset[str]] = frozenset({"rms_norm"})

    @override
    def __call__(
        self,
        call: Callable[..., Any],
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        """Normalise the last dimension."""
        return wide_rms_norm(input, self.full_width, weight, eps)


@dataclass(frozen=True)
class WidenGroupNorm(_Widen):
    """Normalise over more channels than there are, as one group: those that are gone were zero.

    Args:
        full_width: channels that there were.
    """

    kind: ClassVar[str] = "widen_group_norm"
    calls: ClassVar[frozenset[str]] = frozenset({"group_norm"})

    @override
    def __call__(
        self,
        call: Callable[..., Any],
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        *unused: Any,
    ) -> Tensor:
        """Normalise channels and positions together."""
        return wide_group_norm(input, self.full_width, weight, bias, eps)
