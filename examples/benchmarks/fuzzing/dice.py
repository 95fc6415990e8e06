"""Dice: the random choices behind one case, all of them determined by its number."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

CHANNELS = 3
"""Of inputs and outputs."""

MASKS = ("full", "mixed", "one", "none")
"""What masks there are: all is kept, some, a single position; no mask is given."""

_T = TypeVar("_T")


class Dice:
    """Random choices.

    Args:
        number: the number of the case.
    """

    def __init__(self, number: int) -> None:
        self._random = random.Random(number)

    def chance(self, probability: float) -> bool:
        """Return True with a probability in [0, 1]."""
        return self._random.random() < probability

    def choose(self, *options: _T) -> _T:
        """Return one of the options."""
        return self._random.choice(options)

    def between(self, low: int, high: int) -> int:
        """Return an integer, both ends included."""
        return self._random.randint(low, high)

    def some(self, options: Sequence[_T], probability: float) -> list[_T]:
        """Return a random part of the options."""
        return [option for option in options if self.chance(probability)]

    def width(self) -> int:
        """Return a number of channels."""
        return self.choose(4, 4, 5, 6, 6, 8)


@dataclass(frozen=True)
class Draw:
    """What kind of inputs to draw.

    Args:
        name: how the report calls it.
        batch: number of examples.
        size: length of sequences, height and width of images.
        scale: factor of the values.
        shift: what is added to them.
        mask: one of `MASKS`.
        options: whether other optional arguments are given.
    """

    name: str = "fresh"
    batch: int = 3
    size: int = 5
    scale: float = 1.0
    shift: float = 0.0
    mask: str = "full"
    options: bool = True

    def but(self, name: str, **changes: Any) -> Draw:
        """Return this with some things changed."""
        return replace(self, name=name, **changes)

    def values(self, *shape: int) -> Tensor:
        """Return numbers."""
        return torch.randn(shape, dtype=torch.float64) * self.scale + self.shift

    def kept(self, *shape: int) -> Tensor | None:
        """Return a mask, True = kept; in every row of the last dimension at least one is kept."""
        if self.mask == "none":
            return None
        kept = torch.zeros(shape, dtype=torch.bool)
        kept[..., 0] = True
        if self.mask == "mixed":
            kept |= torch.rand(shape) < 0.5
        return torch.ones_like(kept) if self.mask == "full" else kept


@dataclass(frozen=True)
class RandomNet:
    """A net, and what it takes.

    Args:
        model: the net.
        inputs: returns positional arguments.
        example: the kind of inputs that compaction is shown.
        sizes: what sizes it takes.
        masks: what kinds of masks it takes; a single one if it takes none.
        options: whether it takes other optional arguments.
    """

    model: nn.Module
    inputs: Callable[[Draw], tuple[Any, ...]]
    example: Draw
    sizes: tuple[int, ...] = ()
    masks: tuple[str, ...] = ("none",)
    options: bool = False

    def draws(self) -> list[Draw]:
        """Return the kinds of inputs on which masked and compact are compared.

        Optional arguments that the example gives are left out, too. Those that it leaves out are
        not given: compaction has not seen what they do.
        """
        example = self.example
        draws = [example.but("fresh"), example.but("again"), example.but("batch of 1", batch=1)]
        draws += [example.but("batch of 5", batch=5), example.but("zero", scale=0.0)]
        draws += [example.but("10 times larger", scale=10 * example.scale)]
        draws += [example.but(f"shifted by {shift}", shift=shift) for shift in (4.0, -4.0, 40.0)]
        draws += [example.but(f"size {size}", size=size) for size in self.sizes]
        if len(self.masks) > 1 and example.mask != "none":
            draws += [example.but(f"mask {mask}", mask=mask) for mask in self.masks]
        if self.options and example.options:
            draws += [example.but("options left out", options=False)]
        return draws
