"""Couple: find which channels of a model live and die together.

The model is run on a twin, in eval and in train mode, and the two recordings are labelled in one
id space, so that what a training step needs (auxiliary heads) stays valid as well. Nothing of the
user's model is changed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from typing_extensions import override

from lightning_prune.coupling.branches import Branch, find_branches
from lightning_prune.coupling.forecast import Trace, Traces
from lightning_prune.coupling.graph import Graph
from lightning_prune.coupling.groups import Frozen, build_groups
from lightning_prune.coupling.labels import Labels
from lightning_prune.coupling.propagate import Propagation
from lightning_prune.coupling.record import record
from lightning_prune.coupling.rules import RULES
from lightning_prune.coupling.solve import Solution, solve, stuck_grids
from lightning_prune.display.tables import format_table
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.fake import fake_mode, real
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin
from lightning_prune.runtime.attention import take_sizes_from_tensors
from lightning_prune.units.cost import element_cost
from lightning_prune.units.group import Group, Structure

log = logging.getLogger(__name__)

_TRACE_BATCH_SIZE = 2


@dataclass(frozen=True, eq=False)
class Coupling:
    """Which units a model has, and what is frozen.

    Args:
        groups: coupled axes that share their units, in the order of the network.
        frozen: what cannot be removed, with the reason.
        unused: parameters that no forward pass has touched.
        prices: multiply-adds per element of each weight, for one forward of a small batch.
        grouped: weights of grouped convolutions and group norms that lose whole groups.
        shapes: of every parameter, by name.
        traces: the recorded passes with their labels.
        branches: residual branches, in the order of the network.
    """

    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    unused: tuple[str, ...]
    prices: dict[str, float]
    grouped: frozenset[str]
    shapes: dict[str, torch.Size]
    traces: Traces
    branches: tuple[Branch, ...]

    @property
    def prunable(self) -> int:
        """Elements of parameters that lie on at least one unit."""
        return int(element_cost(self.groups, self.shapes).prunable)

    @property
    def structure(self) -> Structure:
        """The units that the model has."""
        branches = tuple(branch.group(self.shapes) for branch in self.branches)
        return Structure(self.groups, branches)

    @override
    def __str__(self) -> str:
        total = sum(shape.numel() for shape in self.shapes.values())
        share = self.prunable / total if total else 0.0
        head = f"{self.prunable:,} of {total:,} parameters can be pruned ({share:.1%})"
        rows = [
            [
                group.name,
                str(group.units),
                f"{element_cost([group], self.shapes).prunable:,.0f}",
                ", ".join(_member_names(group)),
            ]
            for group in self.groups
        ]
        tables = [head, format_table(["group", "units", "parameters", "ties"], rows)]
        if self.branches:
            rows = [
                [branch.name, f"{element_cost([branch], self.shapes).prunable:,.0f}"]
                for branch in self.structure.branches
            ]
            tables.append(format_table(["branch", "parameters"], rows))
        if self.frozen:
            rows = [
                [str(one.axis), f"{one.positions} of {one.size}", one.reason] for one in self.frozen
            ]
            tables.append(format_table(["frozen", "positions", "reason"], rows))
        if self.unused:
            tables.append("not used in a forward pass: " + ", ".join(self.unused))
        return "\n\n".join(tables)


def _member_names(group: Group) -> list[str]:
    return [f"{'reads ' if m.side == 'in' else ''}{m.axis}" for m in group.parameters]


def couple(model: nn.Module, example_inputs: Any) -> Coupling:
    """Find which channels of ``model`` live and die together.

    Args:
        model: any module.
        example_inputs: what ``model(...)`` takes: a tensor, a tuple of positional arguments or a
            dict of keyword arguments; their values do not matter. Model and inputs may be built
            under ``FakeTensorMode``, without numbers.

    Returns:
        Groups of coupled units, and everything that is frozen with the reason.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
    """
    recordings = record_modes(model, _on(model, ExampleInputs.of(example_inputs)))
    with real():
        return _analyse(model, recordings)


def _on(model: nn.Module, inputs: ExampleInputs) -> ExampleInputs:
    """Return the inputs on the device and in the type of the model, fake where the model is."""
    mode = fake_mode(model.parameters())
    if mode is None:
        return inputs.on(model)
    return inputs.map(lambda t: t if fake_mode([t]) else mode.from_tensor(t)).on(model)


def _analyse(model: nn.Module, recordings: list[tuple[Graph, ExampleInputs, bool]]) -> Coupling:
    labels = Labels()
    branches = find_branches([graph for graph, _, _ in recordings])
    first, solution = _label(model, recordings, labels, branches)
    stuck = stuck_grids(labels, solution)
    if not stuck.any():
        return first
    # Where heads must stay, their features may go.
    second = _label(model, recordings, Labels(stuck), branches)[0]
    return second if second.prunable > first.prunable else first


def _label(
    model: nn.Module,
    recordings: list[tuple[Graph, ExampleInputs, bool]],
    labels: Labels,
    branches: tuple[Branch, ...],
) -> tuple[Coupling, Solution]:
    prices: dict[str, float] | None = None
    traces = []
    for graph, given, training in recordings:
        planes = Propagation(graph, labels, RULES).run()
        traces.append(Trace(graph, planes, given, training))
        prices = dict(labels.prices) if prices is None else prices  # of the eval trace alone
    solution = solve(labels)
    groups, frozen = build_groups(labels, solution)
    used = {axis.tensor for axis in labels.starts}
    parameters = dict(model.named_parameters())
    coupling = Coupling(
        groups,
        frozen,
        tuple(n for n, p in parameters.items() if n not in used and p.numel() > 1),
        prices or {},
        frozenset(labels.grouped),
        {name: parameter.shape for name, parameter in parameters.items()},
        Traces(tuple(traces), labels, solution.component),
        branches,
    )
    return coupling, solution


def record_modes(
    model: nn.Module, inputs: ExampleInputs
) -> list[tuple[Graph, ExampleInputs, bool]]:
    """Record a model in eval mode and, where it runs so, in train mode.

    Args:
        model: any module; a twin of it runs.
        inputs: arguments for its ``forward``, on its device.

    Returns:
        For each mode the recording, what the model was called with, and whether it was training.

    Raises:
        ExampleInputsError: if the model does not run on the inputs in eval mode.
    """
    copy = twin(model)
    take_sizes_from_tensors(copy)
    devices = list({p.device for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        copy.eval()
        recordings = [(*_record_small(copy, inputs), False)]
        prepare_training(copy)
        try:
            recordings.append((*_record_small(copy, inputs), True))
        except ExampleInputsError as error:
            log.info("%s was traced in eval mode only: %s", type(model).__name__, error)
    return recordings


def prepare_training(model: nn.Module) -> None:
    """Put a twin in train mode, but for modules whose train mode couples nothing more.

    Batch norms would ask for large batches, and dropout makes outputs random.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, (_NormBase, _DropoutNd)):
            module.eval()


def _record_small(model: nn.Module, inputs: ExampleInputs) -> tuple[Graph, ExampleInputs]:
    """Record with a small batch; with the whole one if the model does not run on less."""
    small = inputs.narrowed(_TRACE_BATCH_SIZE)
    try:
        return record(model, small, RULES.__contains__), small
    except ExampleInputsError:
        if small is inputs:
            raise
        return record(model, inputs, RULES.__contains__), inputs
