"""A recipe: what to prune and by which scores; the schedule, which says when, is no part of it.

Whatever prunes takes the same options; they are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import nn

from lightning_prune.allocations import Allocation, Global
from lightning_prune.arguments import (
    check_choice,
    check_flags,
    check_kind,
    check_list,
    check_model,
    check_sparsity,
)
from lightning_prune.compensations import Compensation
from lightning_prune.criteria import Criterion, Gradient
from lightning_prune.errors import TargetError
from lightning_prune.granularities import Channel, Granularity
from lightning_prune.measure.backend import Backend, check_backend
from lightning_prune.modules.names import plain_name
from lightning_prune.modules.patterns import check_patterns
from lightning_prune.pruning.checks import (
    check_compensation,
    check_groups,
    check_latency,
    check_regrows,
)
from lightning_prune.pruning.comparing.auto import Auto
from lightning_prune.schedules import Schedule
from lightning_prune.units.cost import Of

_SAMPLES = 512
"""By which norms are renewed where nothing is compensated."""


@dataclass(frozen=True)
class Recipe:
    """What to prune.

    Args:
        sparsity: final fraction removed, in [0, 1).
        criterion: gives every weight a score.
        granularity: what a unit is.
        allocation: how the sparsity is shared among groups.
        of: of what the sparsity is a fraction, counted over what is prunable.
        include: glob patterns of the names of modules to prune; None for all.
        exclude: glob patterns of the names of modules to leave alone.
        regrows: removed units may grow again.
        allow_unused: also prune units that a parameter which no example runs might read.
        latency_ms: what the compact model is to take, in ms, in place of a sparsity.
        backend: what runs the model where latency is measured.
        compensation: changes what reads removed units; None for not.
        renew_norms: estimate the statistics of batch norms anew after an update.

    Raises:
        ValueError: if ``sparsity`` is outside its range, ``of`` is none of its words, or latency is
            asked for of units that no compaction removes.
        TypeError: if an argument is of another type, a class or a name instead of an object, say.
    """

    sparsity: float
    criterion: Criterion = Gradient()  # noqa: RUF009 (frozen)
    granularity: Granularity = Channel()  # noqa: RUF009
    allocation: Allocation = Global()  # noqa: RUF009
    of: Of = "parameters"
    include: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    regrows: bool = False
    allow_unused: bool = False
    latency_ms: float | None = None
    backend: Backend = "eager"
    compensation: Compensation | None = None
    renew_norms: bool = True

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        check_kind("criterion", self.criterion, Criterion)
        check_kind("granularity", self.granularity, Granularity)
        check_kind("allocation", self.allocation, Allocation)
        check_choice("of", self.of, get_args(Of), "It says what the sparsity is a fraction of.")
        for alternative in self.alternatives:
            check_groups(self.granularity, alternative.criterion, alternative.allocation)
        check_backend(self.backend)
        check_latency(self.of, self.latency_ms, self.granularity, self.criterion)
        if self.regrows:
            check_regrows(self.granularity)
        check_list("include", () if self.include is None else self.include)
        check_list("exclude", self.exclude)
        check_flags(allow_unused=self.allow_unused, renew_norms=self.renew_norms)
        check_compensation(self.compensation, self.granularity)
        # A float of NumPy's prints in another way, by which a checkpoint would be refused.
        object.__setattr__(self, "sparsity", float(self.sparsity))

    @property
    def needs_inputs(self) -> bool:
        """Whether the units, what they cost or their scores take a forward pass to find."""
        return (
            self.granularity.needs_coupling
            or self.of in {"macs", "latency"}
            or any(r.criterion.reads.needs_examples for r in self.alternatives)
        )

    @property
    def alternatives(self) -> tuple[Recipe, ...]:
        """A recipe for each candidate of `Auto`; this one alone without it."""
        if not isinstance(self.criterion, Auto):
            return (self,)
        return tuple(
            replace(self, criterion=c.criterion, allocation=c.allocation or self.allocation)
            for c in self.criterion.choices
        )

    @property
    def chooses(self) -> bool:
        """Whether there are candidates, of which held-out data choose one."""
        return isinstance(self.criterion, Auto)

    @property
    def samples(self) -> int:
        """How many examples of calibration data are read at most; half of them may be held out."""
        samples = _SAMPLES if self.compensation is None else self.compensation.samples
        return 2 * samples if self.chooses else samples

    def mends(self, schedule: Schedule, due: int) -> bool:
        """Return whether something is mended after an update, or held-out data choose before it.

        Norms are renewed after every update of a schedule in epochs. In steps there may be many, in
        between which the training renews them: there they are renewed after the last.

        Args:
            schedule: says when updates are.
            due: the position of this one.
        """
        norms = self.renew_norms and (schedule.period == "epoch" or due == schedule.last)
        return norms or self.compensation is not None or self.chooses

    def check(self, model: nn.Module) -> None:
        """Refuse patterns that name no module, and a model without a trainable parameter.

        Args:
            model: the module to prune.

        Raises:
            ValueError: if a pattern names no module.
            TypeError: if ``model`` is no module, or a scripted one.
            TargetError: if every parameter is frozen.
        """
        check_model(model)
        if isinstance(model, torch.jit.ScriptModule):  # no copy shares its parameters
            raise TypeError(
                f"Expected `model` to be a module in Python, but got {type(model).__name__}. Prune "
                "what it was scripted or traced from, and script or trace the compact model."
            )
        names = [plain_name(name) for name, module in model.named_modules()]
        check_patterns("include", self.include or (), names)
        check_patterns("exclude", self.exclude, names)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise TargetError(
                f"Expected `{type(model).__name__}` to have trainable parameters, but got none. "
                "Unfreeze what should be pruned (`requires_grad_(True)`)."
            )

    def check_inputs(self, example_inputs: Any) -> None:
        """Refuse missing inputs.

        Args:
            example_inputs: what ``model(...)`` takes, or None.

        Raises:
            ValueError: if they are needed and missing.
        """
        if self.needs_inputs and example_inputs is None:
            raise ValueError(
                f"Expected `example_inputs` to be given for {self.granularity}, {self.criterion} "
                f"and of={self.of!r}, but got None. Pass what you would pass to `model(...)`."
            )


def asked(sparsity: float | None, latency_ms: float | None, of: Of) -> tuple[float, Of]:
    """Return the sparsity and what it is of, where either that or a latency is asked for.

    Args:
        sparsity: the fraction to remove, or None.
        latency_ms: what the compact model is to take, in ms, or None.
        of: of what the sparsity is.

    Returns:
        Both; for a latency 0 of the latency, until it is known what the model takes.

    Raises:
        ValueError: if both are given, or none.
    """
    if (sparsity is None) == (latency_ms is None):
        got = "none" if sparsity is None else f"{sparsity} and latency_ms={latency_ms}"
        raise ValueError(
            f"Expected either `sparsity` or `latency_ms` to be given, but got {got}. Ask for one."
        )
    return (0.0, "latency") if sparsity is None else (sparsity, of)
