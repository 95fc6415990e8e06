"""What pruning refuses before it starts: arguments that are wrong by themselves."""

from __future__ import annotations

from collections.abc import Container, Iterable

import torch
from torch import nn

from lightning_prune.allocations.base import Allocation
from lightning_prune.arguments import check_kind, check_positive
from lightning_prune.compensations.base import Compensation
from lightning_prune.criteria.base import Criterion
from lightning_prune.granularities.base import Granularity
from lightning_prune.pruning.comparing.auto import Auto, refuse_auto
from lightning_prune.pruning.rewinding import Rewinding
from lightning_prune.regularizations.base import Regularization
from lightning_prune.schedules import Schedule
from lightning_prune.units.cost import Of


def check_regrows(granularity: Granularity) -> None:
    """Refuse units that cannot grow again.

    Raises:
        ValueError: if they cannot.
    """
    if not granularity.regrows:
        raise ValueError(
            f"Expected `granularity` to be one whose removed units can grow again, but got "
            f"{granularity}. "
            "Use Weight() or Block(rows, cols), or a schedule that does not regrow."
        )


def check_groups(granularity: Granularity, criterion: Criterion, allocation: Allocation) -> None:
    """Refuse what needs several units in a group, where every group is a single unit.

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


def check_latency(
    of: Of, latency_ms: float | None, granularity: Granularity, criterion: Criterion
) -> None:
    """Refuse a target of latency that no compaction could reach, or that cannot be measured.

    Raises:
        ValueError: if the units stay in the compact model, the criterion takes many rounds or has
            candidates, or ``latency_ms`` is out of range.
    """
    if latency_ms is not None:
        check_positive("latency_ms", latency_ms, "It is what the compact model is to take, in ms.")
    if of != "latency":
        return
    if isinstance(criterion, Auto):
        raise ValueError(
            f"Expected `of` to be 'parameters', 'macs' or 'units' for {criterion}, but got "
            "'latency'. Every candidate would be measured: use of='macs', say."
        )
    if not granularity.needs_coupling:
        raise ValueError(
            f"Expected `granularity` to remove whole channels, heads or branches for "
            f"of='latency', but got {granularity}. Zeros alone make nothing faster: use Channel()."
        )
    if criterion.rounds > 1:
        raise ValueError(
            f"Expected `criterion` to choose in one round for of='latency', but got {criterion}. "
            "Every round would be measured: use Taylor(), say."
        )


def check_compensation(compensation: object, granularity: Granularity) -> None:
    """Refuse a compensation for units that nothing reads as a whole.

    Args:
        compensation: what was passed; ``None`` is allowed.
        granularity: what a unit is.

    Raises:
        ValueError: if units are single weights, blocks, patterns or whole branches.
        TypeError: if ``compensation`` is something else.
    """
    if compensation is None:
        return
    check_kind("compensation", compensation, Compensation)
    if not granularity.needs_coupling or granularity.whole_groups:
        raise ValueError(
            f"Expected `granularity` to remove units that weights read for `compensation`, but got "
            f"{granularity}. Use Channel() or Head(), or leave the compensation out."
        )


def check_refitted(compensation: Compensation | None, rewind: Rewinding | None) -> None:
    """Refuse a compensation that rewinding would undo.

    Raises:
        ValueError: if it would.
    """
    if compensation is not None and rewind is not None and rewind.weights:
        raise ValueError(
            f"Expected `rewind` to leave the weights for {compensation}, but got {rewind}: what is "
            "fitted would be undone. Use Rewinding(..., weights=False, learning_rate=True)."
        )


def check_calibration(compensation: Compensation | None, batches: object) -> None:
    """Refuse a compensation without data.

    Raises:
        ValueError: if there is none.
    """
    if compensation is not None and batches is None:
        raise ValueError(
            f"Expected `batches` to be given for {compensation}, but got None. Pass some hundred "
            "examples of the training data, in batches that the model takes, or with a `loss`."
        )


def check_batches(argument: str, batches: object) -> None:
    """Refuse batches that are no iterable, or an empty list; ``None`` is allowed.

    Args:
        argument: the argument that holds them, for the message.
        batches: what was passed.

    Raises:
        TypeError: if they are none.
        ValueError: if the list is empty.
    """
    if batches is not None and not isinstance(batches, Iterable):
        raise TypeError(
            f"Expected `{argument}` to be an iterable, but got {batches!r}. A data loader is one."
        )
    if isinstance(batches, (list, tuple)) and not batches:
        raise ValueError(
            f"Expected `{argument}` to hold batches, but got {batches!r}. Pass some, or leave it "
            "out."
        )


def check_loss(criterion: Criterion, batches: object, loss: object) -> None:
    """Refuse a criterion without the batches and the loss that it needs.

    Raises:
        ValueError: if one is missing.
    """
    missing = " and ".join(n for n, v in (("batches", batches), ("loss", loss)) if v is None)
    if missing:
        raise ValueError(
            f"Expected `batches` and `loss` to be given for {criterion}, but got None for {missing}"
            ". Pass an iterable and a function loss(model, batch) -> scalar, or choose a criterion "
            "that reads weights only, such as Magnitude()."
        )


def check_regularization(regularization: object, criterion: Criterion) -> None:
    """Refuse a regularization whose units cannot be chosen between two updates.

    Args:
        regularization: what was passed; ``None`` is allowed.
        criterion: gives the scores.

    Raises:
        ValueError: if scores differ between ranks until an update reduces them.
        TypeError: if ``regularization`` is something else.
    """
    if regularization is None:
        return
    check_kind("regularization", regularization, Regularization)
    refuse_auto(criterion, "`regularization`")
    if not criterion.reads.same_on_ranks:
        raise ValueError(
            "Expected `criterion` to be equal on all ranks at every step for `regularization`, "
            f"but got {criterion}. Choose one that reads weights or gradients."
        )


def check_release(schedule: Schedule, granularity: Granularity) -> None:
    """Refuse a schedule that brings back what has nothing to start from.

    Raises:
        ValueError: if it does.
    """
    if granularity.whole_groups and not schedule.monotone:
        raise ValueError(
            f"Expected a schedule whose sparsity never falls for {granularity}, but got "
            f"{schedule!r}: of a group that is removed as a whole no weight is left whose size "
            "says how large new ones should be. Use Channel(), or another schedule."
        )


def check_start(schedule: Schedule, criterion: Criterion) -> None:
    """Refuse a criterion that a training cannot score, or a schedule that starts before it can.

    Raises:
        ValueError: if it is one.
    """
    if not criterion.reads.in_training:
        raise ValueError(
            f"Expected `criterion` to be one that training can score, but got {criterion}, which "
            "takes second derivatives of the loss. Call `prune` with it before the training."
        )
    if schedule.in_fractions:  # checked once they are steps
        return
    if criterion.averaged and schedule.sparsity(0, final=0.5) > 0:
        raise ValueError(
            f"Expected `schedule` to start after {schedule.period} 0 for {criterion}, but got "
            f"{schedule!r}: no {criterion.reads.name} have been seen yet. Start at "
            f"{schedule.period} 1 or later."
        )


def check_weights(model: nn.Module, masked: Container[str]) -> None:
    """Refuse parameters that no mask could be written to: before some of the others are.

    Args:
        model: any module.
        masked: names of the parameters that masks are written to.

    Raises:
        ValueError: if one was made in inference mode, or if its elements share memory.
    """
    for name, parameter in model.named_parameters():
        is_plain = type(parameter) is nn.Parameter and parameter.layout == torch.strided
        if name not in masked or not is_plain:
            continue
        if parameter.is_inference():
            got = "one that was made in inference mode"
        elif 0 in _strides(parameter):
            got = "one whose elements lie in the same memory, as after `expand`"
        else:
            continue
        raise ValueError(
            f"Expected `{name}` to be a parameter that can be written to, but got {got}. Replace "
            "it by a clone: `nn.Parameter(parameter.detach().clone())`."
        )


def _strides(tensor: torch.Tensor) -> list[int]:
    """Return the steps in memory along dimensions of several elements."""
    return [step for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]
