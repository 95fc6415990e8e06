"""Experts: remove the rows of stacked weights that hold nothing but zeros.

Whoever picks such a row gets zeros, before and after: `ReadRows` around ``forward`` of the module
that holds them sees to that, read by read. A mixture stays as it was where its weights are read
from elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from lightning_prune.compaction.plan import Plan, plan_removal
from lightning_prune.compaction.rewriting import Edit, edits_of
from lightning_prune.compaction.rewriting.call_site import digest, sources_along
from lightning_prune.compaction.surgery import Surgery
from lightning_prune.compaction.verification import Check, Errors
from lightning_prune.coupling.mixtures import Mixture
from lightning_prune.errors import ExampleInputsError, RewriteError, VerificationError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.seeding import seeded
from lightning_prune.modules.twin import clone
from lightning_prune.runtime.corrections import ReadRows
from lightning_prune.runtime.corrections.rows import reads_rows
from lightning_prune.units.masks import find_dead

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


@dataclass
class Experts:
    """What was removed of the mixtures of one model.

    Args:
        plan: what was applied.
        refused: for each mixture that stays as it was, the reason.
        errors: of the model without the experts.
    """

    plan: Plan = field(default_factory=Plan)
    refused: dict[str, str] = field(default_factory=dict)
    errors: Errors = field(default_factory=Errors)


def dead_experts(model: nn.Module, mixtures: Sequence[Mixture]) -> dict[Mixture, Tensor]:
    """Return which experts are zero, shape ``[experts]``, of the mixtures that have any."""
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    dead = find_dead([mixture.group for mixture in mixtures], tensors)
    return {mixture: d for mixture, d in zip(mixtures, dead, strict=True) if bool(d.any())}


def remove_experts(
    model: nn.Module,
    surgery: Surgery,
    examples: Sequence[ExampleInputs],
    dead: Mapping[Mixture, Tensor],
    check: Check,
    tolerances: Mapping[torch.dtype, float],
) -> Experts:
    """Remove experts that are zero.

    Args:
        model: the masked model.
        surgery: changes it in place.
        examples: arguments for its methods, on its device.
        dead: by mixture which experts are zero, shape ``[experts]``.
        check: what the model is held to.
        tolerances: largest relative error allowed, by the type of the arithmetic.

    Returns:
        What was removed.
    """
    found = Experts()
    outside = _read_outside(model, examples, dead)
    reason = (
        "its weights are read outside of the forward of the module that holds them, or in a "
        "checkpoint inside of it. Move the reads, or the checkpoint around that module"
    )
    found.refused |= {mixture.name: reason for mixture in outside}
    for mixture, units in dead.items():
        if mixture in outside:
            continue
        start = surgery.mark()
        try:
            plan = _plan(model, mixture, units)
            surgery.apply(plan)
            found.errors = check.check(model, tolerances)
            found.plan = found.plan.then(plan)
        except (RewriteError, VerificationError) as error:
            surgery.undo(to=start)
            found.refused[mixture.name] = str(error)
    return found


def _plan(model: nn.Module, mixture: Mixture, dead: Tensor) -> Plan:
    plan = plan_removal([mixture.group], [dead])
    owner = mixture.tables[0].rpartition(".")[0]
    kind = edits_of(type(model.get_submodule(owner)))[0]
    names = tuple(table.rpartition(".")[2] for table in mixture.tables)
    cut = next(iter(plan.axes.values()))
    source = digest(sources_along(kind, "forward", ()))
    edit = Edit("forward", (), ReadRows(names, cut.kept, cut.size), source)
    return plan.then(Plan(edits={owner: (edit,)}))


def _read_outside(
    model: nn.Module, examples: Sequence[ExampleInputs], mixtures: Iterable[Mixture]
) -> set[Mixture]:
    """Return the mixtures whose weights are read while their module's ``forward`` does not run."""
    found: set[Mixture] = set()
    for training in (False, True):
        copied = clone(model).train(training)
        watch = _Watch(copied, mixtures)
        for inputs in examples:
            try:
                with watch, seeded(0), torch.no_grad():
                    inputs.map(torch.clone)(copied)
            except ExampleInputsError:
                if not training:
                    raise
        found |= watch.outside
    return found


class _Watch(TorchFunctionMode):
    """Notes which mixtures are read while their module's ``forward`` does not run.

    What a checkpoint inside of it computes, it computes again in the backward pass: too late.
    """

    def __init__(self, model: nn.Module, mixtures: Iterable[Mixture]) -> None:
        super().__init__()
        self.outside: set[Mixture] = set()
        self._checkpoints: dict[Mixture, int] = {}  # around each module that runs
        self._tables: dict[int, Mixture] = {}
        for mixture in mixtures:
            self._tables |= {id(model.get_parameter(name)): mixture for name in mixture.tables}
            owner = model.get_submodule(mixture.tables[0].rpartition(".")[0])
            owner.register_forward_pre_hook(lambda *_, it=mixture: self._enter(it))
            owner.register_forward_hook(lambda *_, it=mixture: self._leave(it))

    def _enter(self, mixture: Mixture) -> None:
        self._checkpoints[mixture] = _checkpoints()

    def _leave(self, mixture: Mixture) -> None:
        del self._checkpoints[mixture]

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        # Before and after a training step, this package copies and restores all tensors.
        is_ours = sys._getframe(1).f_code.co_filename.startswith(_PACKAGE)
        if reads_rows(func) and not is_ours:
            found = {self._tables.get(id(leaf)) for leaf in tree_leaves((args, kwargs))} - {None}
            around = _checkpoints() if found else 0
            self.outside |= {it for it in found if it and self._checkpoints.get(it) != around}
        return func(*args, **(kwargs or {}))


def _checkpoints() -> int:
    """Return how many functions of `torch.utils.checkpoint` are running."""
    count, frame = 0, sys._getframe(1)
    while frame is not None:
        count += frame.f_code.co_filename == checkpoint.__file__
        frame = frame.f_back  # type: ignore[assignment]
    return count
