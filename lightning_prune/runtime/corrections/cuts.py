"""Corrections of positions: of slices in brackets, and of what is narrowed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from typing_extensions import override

from lightning_prune.runtime.corrections.base import (
    CallCorrection,
    Correction,
    are_sizes,
    is_size,
    load,
    misfit,
    require,
)
from lightning_prune.runtime.corrections.values import is_tensor, is_whole


class CutBounds(NamedTuple):
    """Start and end along one dimension of ``rank`` ones.

    Dimensions are counted when those before are indexed already, as torch does it.
    """

    dim: int
    rank: int
    start: int
    end: int


@dataclass(frozen=True)
class Recut(Correction):
    """Indexed in place of a tensor, gives the index with other bounds.

    Args:
        cuts: the bounds, at most one for a dimension.
    """

    kind: ClassVar[str] = "recut"

    cuts: tuple[CutBounds, ...]

    def __post_init__(self) -> None:
        require(bool(self.cuts), "cuts", "at least one", self.cuts)
        for cut in self.cuts:
            holds = are_sizes(tuple(cut), 4) and cut[0] < cut[1] and cut[2] <= cut[3]
            require(holds, "cuts", "dimension, rank, start and end each", cut)

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return the same subscript with a corrected index."""
        if not isinstance(node, ast.Subscript):
            raise misfit(self, node)
        node.slice = ast.Subscript(load(name), node.slice, ast.Load())
        return node

    def __getitem__(self, index: Any) -> Any:
        places = list(index) if isinstance(index, tuple) else [index]
        for dim, rank, start, end in self.cuts:
            found = _place_of(dim, rank, places)
            if found is not None:
                places[found] = slice(start, end)
        return tuple(places)

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the later bounds of each dimension."""
        if not isinstance(later, Recut):
            return None
        cuts = {cut[:2]: cut for cut in (*self.cuts, *later.cuts)}
        return Recut(tuple(cuts.values()))


def slice_of(dim: int, rank: int, index: Any) -> slice | None:
    """Return the slice in brackets that is of the dimension ``dim`` of ``rank`` ones, if any."""
    places = list(index) if isinstance(index, tuple) else [index]
    found = _place_of(dim, rank, places)
    return None if found is None else places[found]


def _place_of(dim: int, rank: int, places: Sequence[Any]) -> int | None:
    """Return which of the places in brackets is a slice of the dimension ``dim`` of ``rank``."""
    at, after_ellipsis = 0, False
    for index, place in enumerate(places):
        if after_ellipsis:
            left = sum(other is not None for other in places[index + 1 :])
            found = dim == rank - 1 - left
        else:
            found = dim == at
        if isinstance(place, slice) and found:
            return index
        after_ellipsis |= place is Ellipsis
        at += is_tensor(place) or not is_whole(place)
    return None


@dataclass(frozen=True)
class Renarrow(CallCorrection):
    """Narrow with another start and length.

    Args:
        start: the first position.
        length: how many there are.
    """

    kind: ClassVar[str] = "renarrow"
    calls: ClassVar[frozenset[str]] = frozenset({"narrow"})

    start: int
    length: int

    def __post_init__(self) -> None:
        require(is_size(self.start), "start", "a size", self.start)
        require(is_size(self.length), "length", "a size", self.length)

    @override
    def __call__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call with the start and the length in place of those that were given."""
        first = 1 if args and is_tensor(args[0]) else 0
        given = dict(zip(("dim", "start", "length"), args[first:], strict=False)) | kwargs
        return call(*args[:first], **given | {"start": self.start, "length": self.length})

    @override
    def then(self, later: Correction) -> Correction | None:
        """Keep the later bounds."""
        return later if isinstance(later, Renarrow) else None
