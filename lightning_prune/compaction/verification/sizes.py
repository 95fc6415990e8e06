"""Sizes: which dimensions of a model's inputs change together, and inputs of other sizes.

Dimensions of the same size are taken for the same thing: an image and its mask, a sequence and its
padding. Where one tensor has the size twice, as a square image has, its dimensions also change one
at a time. Whether a model takes what is made here only the model can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_prune.modules.inputs import ExampleInputs

_LARGE = 64
"""From this size on, sizes change by a stride rather than by a factor."""


@dataclass(frozen=True, order=True)
class Place:
    """One dimension of one input tensor.

    Args:
        index: of the tensor among the inputs' tensors.
        dim: the dimension, from the left.
    """

    index: int
    dim: int


@dataclass(frozen=True)
class Dimension:
    """Dimensions of input tensors that change their size together.

    Args:
        size: what they have.
        places: where.
        is_whole: whether these are all the dimensions of that size.
    """

    size: int
    places: frozenset[Place]
    is_whole: bool = True

    @property
    def name(self) -> str:
        """Where it is, in words."""
        return ", ".join(f"dimension {p.dim} of input {p.index}" for p in sorted(self.places))


def batch_places(inputs: ExampleInputs) -> frozenset[Place]:
    """Return the first dimensions that count the examples."""
    full = inputs.batch_size
    return frozenset(
        Place(i, 0) for i, t in enumerate(inputs.tensors) if t.dim() and t.shape[0] == full
    )


def position_places(inputs: ExampleInputs) -> frozenset[Place]:
    """Return where positions are likely to lie: in space, in time, in a text."""
    return frozenset(
        Place(i, d) for i, t in enumerate(inputs.tensors) for d in _positions(t) if t.shape[d] > 0
    )


def _positions(tensor: Tensor) -> range:
    if not tensor.is_floating_point():
        return range(1, tensor.dim())
    return range(2, tensor.dim()) if tensor.dim() > 3 else range(1, tensor.dim() - 1)


def dimensions(inputs: ExampleInputs) -> tuple[Dimension, ...]:
    """Return what may change beside the number of examples: every size, whole and in parts."""
    batch = batch_places(inputs)
    by_size: dict[int, set[Place]] = {}
    for i, tensor in enumerate(inputs.tensors):
        for d, size in enumerate(tensor.shape):
            if Place(i, d) not in batch and size > 0:
                by_size.setdefault(size, set()).add(Place(i, d))
    found = []
    for size, places in by_size.items():
        found.append(Dimension(size, frozenset(places)))
        found += [Dimension(size, part, is_whole=False) for part in _parts(places, inputs)]
    return tuple(found)


def _parts(places: Iterable[Place], inputs: ExampleInputs) -> list[frozenset[Place]]:
    """Split places that one tensor has twice, counted from the right and from the left."""
    places = list(places)
    if len({p.index for p in places}) == len(places):
        return []
    tensors = inputs.tensors
    from_right: dict[int, set[Place]] = {}
    from_left: dict[int, set[Place]] = {}
    for place in places:
        from_right.setdefault(tensors[place.index].dim() - place.dim, set()).add(place)
        from_left.setdefault(place.dim, set()).add(place)
    parts = [frozenset(part) for part in (*from_right.values(), *from_left.values())]
    return [part for part in dict.fromkeys(parts) if len(part) < len(places)]


def larger(size: int) -> list[int]:
    """Return larger sizes, the most telling first: one that divides by nothing may be padded."""
    large = [size + 33, size + 32, size + 1, 2 * size]
    sizes = large if size >= _LARGE else [2 * size + 1, 2 * size, size + 1, size + 8, size + 32]
    return list(dict.fromkeys([*sizes, *_squares(size, 1, 2)]))


def smaller(size: int) -> list[int]:
    """Return smaller sizes, the most usual first."""
    small = [size // 2, size - 1, size - 8, size - 32]
    sizes = [size - 32, size - 1, size // 2] if size >= _LARGE else small
    return [one for one in dict.fromkeys([*sizes, *_squares(size, -1, -2)]) if 0 < one < size]


def _squares(size: int, *steps: int) -> list[int]:
    """Return other squares if a size is one: of the patches of a square image, say."""
    root = math.isqrt(size)
    others = [root + step for step in steps if root + step > 0]
    return [other * other for other in others] if root * root == size else []


def resized(inputs: ExampleInputs, sizes: Mapping[Place, int]) -> ExampleInputs:
    """Return inputs of other sizes: cut, or repeated from the start.

    Args:
        inputs: what is resized.
        sizes: the new size of each place; others stay.

    Returns:
        New inputs; those that do not change are shared.
    """
    tensors = list(inputs.tensors)
    for place, size in sizes.items():
        tensor = tensors[place.index]
        taken = torch.arange(size, device=tensor.device) % tensor.shape[place.dim]
        tensors[place.index] = tensor.index_select(place.dim, taken)
    return replaced(inputs, tensors)


def replaced(inputs: ExampleInputs, tensors: Iterable[Tensor]) -> ExampleInputs:
    """Return ``inputs`` with other tensors, in the same order."""
    following = iter(tensors)
    return inputs.map(lambda tensor: next(following))


def with_batch(inputs: ExampleInputs, size: int) -> ExampleInputs:
    """Return inputs of ``size`` examples."""
    return resized(inputs, dict.fromkeys(batch_places(inputs), size))


def with_short_lists(inputs: ExampleInputs) -> ExampleInputs | None:
    """Return inputs whose lists hold one element each; None if no list holds more."""
    before = len(inputs.tensors)
    args, kwargs = _first_of_lists(inputs.args), _first_of_lists(inputs.kwargs)
    changed = replace(inputs, args=args, kwargs=kwargs)
    return changed if 0 < len(changed.tensors) < before else None


def _first_of_lists(value: Any) -> Any:
    if isinstance(value, list):
        return [_first_of_lists(one) for one in value[:1]]
    if type(value) is tuple:
        return tuple(_first_of_lists(one) for one in value)
    return {k: _first_of_lists(v) for k, v in value.items()} if type(value) is dict else value
