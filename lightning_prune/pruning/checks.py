"""What pruning refuses before it starts: arguments that are wrong by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from lightning_prune.allocations.base import Allocation
from lightning_prune.cost import Of
from lightning_prune.criteria.base import Criterion
from lightning_prune.granularities.base import Granularity


def check_sparsity(sparsity: object) -> None:
    """Refuse what is no fraction in [0, 1).

    Raises:
        ValueError: if it is another number.
        TypeError: if it is no number.
    """
    is_number = isinstance(sparsity, (int, float))
    if not (isinstance(sparsity, (int, float)) and 0.0 <= sparsity < 1.0):
        raise (ValueError if is_number else TypeError)(
            f"Expected `sparsity` to be a fraction in [0, 1), but got {sparsity!r}. It is the "
            "share removed in the end, not the share kept."
        )


def check_of(of: object) -> None:
    """Refuse what is none of the words that a sparsity can be a fraction of.

    Raises:
        ValueError: if it is none.
    """
    if of not in get_args(Of):
        raise ValueError(
            f"Expected `of` to be one of {', '.join(get_args(Of))}, but got {of!r}. It says what "
            "the sparsity is a fraction of."
        )


def check_regrows(granularity: Granularity) -> None:
    """Refuse units that cannot grow again.

    Raises:
        ValueError: if they cannot.
    """
    if not granularity.regrows:
        raise ValueError(
            f"Expected a granularity whose removed units can grow again, but got {granularity}. "
            "Use Weight() or Block(rows, cols), or a schedule that does not regrow."
        )


def check_groups(granularity: Granularity, criterion: Criterion, allocation: Allocation) -> None:
    """Refuse what takes several units to a group, where every group is a single unit.

    Raises:
        ValueError: if the criterion compares the units of a group, or the allocation takes a
            fraction of them.
    """
    if not granularity.whole_groups:
        return
    if criterion.relative:
        raise ValueError(
            f"Expected `criterion` to score every unit by itself, but got {criterion} for "
            f"{granularity}, each of whose groups is a single unit. Use Taylor(), say."
        )
    if allocation.within_groups or allocation.max_sparsity < 1.0:
        raise ValueError(
            f"Expected `allocation` to rank the units of all groups together, but got {allocation} "
            f"for {granularity}, each of whose groups is a single unit. Use Global() or "
            "Isomorphic(), without `max_sparsity`."
        )


def check_kind(argument: str, value: object, kind: type) -> None:
    """Refuse what is no object of ``kind``: its class, say, or its name.

    Args:
        argument: the argument that holds the value, for the message.
        value: what was passed.
        kind: the base class of what is expected.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"Expected `{argument}` to be an object of {kind.__name__}, but got {value!r}. "
            "Pass an object, not a class or a name; names alone work in a configuration file only."
        )


def check_list(argument: str, patterns: object) -> None:
    """Refuse patterns that are no list of strings.

    Raises:
        TypeError: if they are none.
    """
    if isinstance(patterns, str):
        cure = f"Write [{patterns!r}]."
    elif isinstance(patterns, Sequence) and all(isinstance(one, str) for one in patterns):
        return
    else:
        cure = "Write each as a string; for none, leave the argument out."
    raise TypeError(
        f"Expected `{argument}` to be a list of glob patterns, but got {patterns!r}. {cure}"
    )
