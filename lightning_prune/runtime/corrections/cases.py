"""A call that runs several times with other numbers: these tell which correction each run needs."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.runtime.corrections.base import Correction, Number, is_number, require
from lightning_prune.runtime.corrections.cuts import Recut, slice_of
from lightning_prune.runtime.corrections.numbers import Pin, PinArguments, TensorOf
from lightning_prune.runtime.corrections.sizes import SIZES, Resize, sizes_among
from lightning_prune.runtime.corrections.values import is_tensor

Given = tuple[Number, ...]
Places = tuple[Any, ...]

_END = 2**47  # where a slice ends that has no end


def places_of(corrections: Iterable[Correction | None]) -> Places | None:
    """Return where the numbers stand by which calls at one place in the source differ.

    Args:
        corrections: what the calls need; None for a call that is right.

    Returns:
        Dimension and rank of a slice, places of sizes, or names and places of arguments; None where
        the corrections are of several kinds or look at no numbers.
    """
    found = [correction for correction in corrections if correction is not None]
    if len({type(correction) for correction in found}) != 1:
        return None
    match found[0]:
        case Recut():
            cuts = {tuple(cut[:2]) for one in found if isinstance(one, Recut) for cut in one.cuts}
            return cuts.pop() if len(cuts) == 1 else None
        case Resize():
            factors = [one.factors for one in found if isinstance(one, Resize)]
            return tuple(sorted({factor[0] for some in factors for factor in some}))
        case PinArguments():
            pins = [one.pins for one in found if isinstance(one, PinArguments)]
            return tuple(sorted({pin[2:] for some in pins for pin in some}))
        case Pin() | TensorOf():
            return ()
    return None


def numbers_given(places: Places, correction: Correction, given: Mapping[str, Any]) -> Given | None:
    """Return the numbers of a recorded operation that `Cases` will find in the call of it.

    Args:
        places: where they stand.
        correction: what one of the calls needs.
        given: the arguments of the operation by name, tensors of one number as numbers.

    Returns:
        The numbers, None where they cannot be told.
    """
    found: list[Any]
    match correction:
        case Recut():
            return _bounds(given.get("start"), given.get("end"))
        case Resize():
            sizes: Sequence[int] = next((given[name] for name in SIZES if name in given), ())
            found = [sizes[place] for place in places] if sizes else []
        case PinArguments():
            found = [given.get(name) for name, _ in places]
        case _:
            found = [value for value in given.values() if is_number(value)]
            found = found if len(found) == 1 else []
    return tuple(found) if found and all(map(is_number, found)) else None


@dataclass(frozen=True)
class Cases(Correction):
    """Corrects a call by the numbers that it is given.

    Where it is given others than were seen, it raises: nothing is guessed.

    Args:
        cases: numbers, and the correction of a call that is given them; None if it is right.
    """

    kind: ClassVar[str] = "cases"

    cases: tuple[tuple[Given, Correction | None], ...]

    def __post_init__(self) -> None:
        require(
            type(self.cases) is tuple and len(self.cases) > 1, "cases", "two or more", self.cases
        )
        for case in self.cases:
            holds = type(case) is tuple and len(case) == 2 and type(case[0]) is tuple
            require(
                holds and all(map(is_number, case[0])), "cases", "numbers and a correction", case
            )
            holds = case[1] is None or isinstance(case[1], Correction)
            require(holds, "cases", "numbers and a correction", case)
        places = places_of(correction for _, correction in self.cases)
        require(places is not None, "cases", "corrections of one kind", self.cases)

    @property
    @override
    def calls(self) -> frozenset[str]:  # type: ignore[override]
        """Names of the functions for a call of which the corrections may stand in."""
        return self._one.calls

    @property
    def _one(self) -> Correction:
        return next(correction for _, correction in self.cases if correction is not None)

    @property
    def _places(self) -> Places:
        return places_of(correction for _, correction in self.cases) or ()

    @override
    def wrap(self, name: str, node: ast.AST) -> ast.AST:
        """Return what one of the corrections makes of the expression; this one stands in for it."""
        return self._one.wrap(name, node)

    def __getitem__(self, index: Any) -> Any:
        """Return the index with the bounds that it needs."""
        dim, rank = self._places
        bounds = slice_of(dim, rank, index)
        correction = None if bounds is None else self._case(_bounds(bounds.start, bounds.stop))
        return index if correction is None else correction[index]

    def __call__(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Call as the model of full size would have; of a number, return what it was there."""
        one = self._one
        if isinstance(one, Pin):
            correction = None if is_tensor(call) else self._case((call,))
            return call if correction is None else correction(call)
        correction = self._case(_numbers(one, self._places, args, kwargs))
        return call(*args, **kwargs) if correction is None else correction(call, *args, **kwargs)

    def _case(self, given: Given) -> Any:
        """Return the correction for these numbers.

        Raises:
            RuntimeError: if they were not seen.
        """
        # In a trace, sizes are tensors of one number.
        plain = tuple(n.item() if isinstance(n, Tensor) else n for n in given)
        for numbers, correction in self.cases:
            if all(map(_is_same, numbers, plain)):
                return correction
        seen = ", ".join(str(numbers) for numbers, _ in self.cases)
        raise RuntimeError(
            f"Expected a call with numbers that it had when the model was made smaller, {seen}, "
            f"but got {given}. Compact the model of full size with an example that calls it so."
        )

    @override
    def then(self, later: Correction) -> Correction | None:
        """Correct every case again, by the numbers that its first correction passes on."""
        cases = []
        for given, first in self.cases:
            second: Correction | None = later
            if isinstance(later, Cases):
                known = dict(later.cases)
                passed = _passed(self._places, given, first)
                if passed not in known:
                    return None
                second = known[passed]
            joint = second if first is None else first if second is None else first.then(second)
            if joint is None and (first or second) is not None:
                return None
            cases.append((given, joint))
        return Cases(tuple(cases)) if places_of(joint for _, joint in cases) is not None else None

    @override
    def to_json(self) -> dict[str, Any]:
        """Return the cases as plain data."""
        cases = [[given, None if c is None else c.to_json()] for given, c in self.cases]
        return {"kind": self.kind, "cases": cases}


def _is_same(number: Number, given: Number) -> bool:
    """Compare; a trace computes in float32."""
    return number == given or (type(given) is float and math.isclose(number, given, rel_tol=1e-6))


def _bounds(start: Any, end: Any) -> Given:
    return int(start or 0), _END if end is None else min(int(end), _END)


def _passed(places: Places, given: Given, correction: Correction | None) -> Given:
    """Return the numbers that a correction makes of those that it is given."""
    fractions: dict[Any, tuple[Number, Number]]
    match correction:
        case Recut(cuts=cuts):
            return cuts[0][2:]
        case Pin() | TensorOf():
            return (given[0] * correction.numerator / correction.denominator,)
        case Resize(factors=factors):
            fractions = {place: (above, below) for place, above, below in factors}
        case PinArguments(pins=pins):
            fractions = {(name, place): (above, below) for above, below, name, place in pins}
        case _:
            return given
    pairs = [
        (number, *fractions.get(place, (1, 1))) for place, number in zip(places, given, strict=True)
    ]
    return tuple(number * above / below if below else -1 for number, above, below in pairs)


def _numbers(one: Correction, places: Places, args: Sequence[Any], kwargs: Any) -> Given:
    """Return the numbers that a call is given at the places."""
    if isinstance(one, Resize):
        sizes = sizes_among(args, kwargs)
        return tuple(int(sizes[place]) for place in places)
    if isinstance(one, PinArguments):
        return tuple(kwargs[name] if name in kwargs else args[place] for name, place in places)
    return (kwargs["data"] if "data" in kwargs else args[0],)
