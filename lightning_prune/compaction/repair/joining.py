"""Joining: one correction for all that one place in the source needs.

A place may be run several times: in a loop, or in a module that several others call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_prune.compaction.repair.fixes import Arguments
from lightning_prune.errors import RewriteError
from lightning_prune.runtime.corrections import (
    Cases,
    Correction,
    Pin,
    PinArguments,
    Recut,
    Resize,
    numbers_given,
    places_of,
)

_SEVERAL = "one call serves several sizes"


@dataclass(frozen=True)
class StaleCall:
    """A call that is stale.

    Args:
        correction: in the form that fits the place in the source.
        needed: in the form that the operation needs.
        given: the numbers among the operation's arguments, by name, None if it was left out.
    """

    correction: Correction
    needed: Correction
    given: Arguments | None


def join_calls(calls: Sequence[StaleCall], right: Sequence[Arguments]) -> Correction:
    """Return one correction for several calls at one place.

    Args:
        calls: those that are stale, at least one.
        right: the numbers of those that are right.

    Raises:
        RewriteError: if nothing tells the calls apart.
    """
    first = calls[0]
    is_one = all(call.correction == first.correction for call in calls)
    if is_one and (not right or _only_infers(first.correction)):
        return first.correction
    needed = [_needed(call) for call in calls]
    places = places_of(needed)
    if places is None:
        raise RewriteError(_SEVERAL)
    found = [(call.given, call.correction) for call in calls] + [(given, None) for given in right]
    cases: dict[tuple[int | float, ...], Correction | None] = {}
    for given, correction in found:
        numbers = None if given is None else numbers_given(places, needed[0], given)
        if numbers is None or cases.setdefault(numbers, correction) != correction:
            raise RewriteError(_SEVERAL)
    return Cases(tuple(cases.items()))


def _only_infers(correction: Correction) -> bool:
    """Tell whether a correction leaves a size to torch, which then finds the right one as well."""
    return isinstance(correction, Resize) and all(not f.denominator for f in correction.factors)


def _needed(call: StaleCall) -> Correction:
    """Return what the operation needs, as far as the place in the source can say it."""
    if isinstance(call.correction, Pin) and isinstance(call.needed, PinArguments):
        return PinArguments(call.needed.pins[:1])
    return call.needed


def join_cuts(known: Correction, correction: Correction) -> Correction:
    """Return one correction of an index that cuts two dimensions.

    Raises:
        RewriteError: if there is none.
    """
    if isinstance(known, Recut) and isinstance(correction, Recut):
        joint = known.then(correction)
        if isinstance(joint, Recut) and set(joint.cuts) == {*known.cuts, *correction.cuts}:
            return joint
    raise RewriteError(_SEVERAL)
