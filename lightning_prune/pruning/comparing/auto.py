"""Auto: the criterion that tries others, and takes the best at every update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_prune.allocations.base import Allocation
from lightning_prune.arguments import check_kind, check_positive
from lightning_prune.criteria.base import Criterion
from lightning_prune.criteria.evidence import Evidence, Weights


@dataclass(frozen=True)
class Candidate:
    """A criterion with an allocation, to be tried.

    Args:
        criterion: gives every weight a score.
        allocation: how the sparsity is shared among groups; None for that of the caller.

    Raises:
        ValueError: if the criterion is one that chooses among others.
        TypeError: if an argument is of another type.
    """

    criterion: Criterion
    allocation: Allocation | None = None

    def __post_init__(self) -> None:
        check_kind("criterion", self.criterion, Criterion)
        refuse_auto(self.criterion, "a candidate")
        if self.allocation is not None:
            check_kind("allocation", self.allocation, Allocation)


@dataclass(frozen=True)
class Auto(Criterion):
    """Prune by each candidate on a copy, and choose the one with the lowest loss on held-out data.

    No criterion wins everywhere. At every update each candidate removes what the update asks for;
    what is left is mended, as the caller says; and the loss is averaged over data that mended
    nothing. Twice as much calibration data are read as without: every second batch is held out.
    Each candidate takes the time of an update with what it mends, and a pass over the held-out
    data. The first of equals wins. `compare` does the same and prunes nothing.

    Args:
        candidates: criteria, or each with an allocation as a `Candidate`.
        seconds: once they are over, no further candidate is tried at an update; the report names
            those. How many are tried depends on the machine then. None for no limit.

    Raises:
        ValueError: if there is no candidate, or ``seconds`` is not positive.
        TypeError: if an argument is of another type.

    Examples:
        >>> from lightning_prune import Magnitude, Pruning, Taylor, Uniform
        >>> auto = Auto([Magnitude(), Candidate(Taylor(), Uniform())])
        >>> Pruning(sparsity=0.5, criterion=auto).recipe.criterion.choices[0]
        Candidate(criterion=Magnitude(p=1), allocation=None)
    """

    candidates: Sequence[Criterion | Candidate]
    seconds: float | None = 60.0

    reads: ClassVar[type[Evidence]] = Weights  # each candidate reads what it needs

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", tuple(as_candidates(self.candidates)))
        check_seconds(self.seconds)

    @property
    def choices(self) -> tuple[Candidate, ...]:
        """The candidates."""
        return tuple(as_candidates(self.candidates))

    @override
    def write(self, out: list[Tensor], weights: list[Tensor], observed: list[Tensor]) -> None:
        """Give no scores: the candidates do."""
        raise NotImplementedError(f"{self} has no scores of its own.")


def as_candidates(candidates: object) -> list[Candidate]:
    """Return candidates, of which some may be bare criteria.

    Raises:
        ValueError: if there is none.
        TypeError: if it is no list of them.
    """
    if isinstance(candidates, str) or not isinstance(candidates, Sequence) or not candidates:
        error = ValueError if isinstance(candidates, list | tuple) else TypeError
        raise error(
            f"Expected `candidates` to be a list of criteria, but got {candidates!r}. "
            "Pass some, such as [Magnitude(), Candidate(Taylor(), Uniform())]."
        )
    found = []
    for candidate in candidates:
        if not isinstance(candidate, Candidate):
            check_kind("candidates", candidate, Criterion)
            candidate = Candidate(candidate)
        found.append(candidate)
    return found


def check_seconds(seconds: float | None) -> None:
    """Refuse a time that is not positive; ``None`` is allowed.

    Raises:
        ValueError: if it is not.
        TypeError: if it is no number.
    """
    if seconds is not None:
        check_positive("seconds", seconds, "Once they are over, no further candidate is tried.")


def refuse_auto(criterion: Criterion, what: str) -> None:
    """Refuse a criterion that chooses among others where one is needed.

    Args:
        criterion: the criterion.
        what: needs it.

    Raises:
        ValueError: if it does.
    """
    if isinstance(criterion, Auto):
        raise ValueError(
            f"Expected `criterion` to give scores itself for {what}, but got {criterion}. "
            "Pass one of its candidates."
        )
