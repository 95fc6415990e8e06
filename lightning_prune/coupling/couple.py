"""Couple: find which channels of a model live and die together.

The model is run on twins, on every example in eval and in train mode, and the recordings are
labelled in one id space, so that what a training step needs (auxiliary heads) stays valid as well.
Nothing of the user's model is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from typing_extensions import override

from lightning_prune.arguments import check_flags, check_model
from lightning_prune.coupling.branches import Branch, find_branches
from lightning_prune.coupling.buffers import unchangeable_buffers
from lightning_prune.coupling.expert_lists import ExpertList, find_expert_lists
from lightning_prune.coupling.forecast import Trace, Traces
from lightning_prune.coupling.graph import Ref
from lightning_prune.coupling.groups import Frozen, build_groups
from lightning_prune.coupling.labels import OUTPUT, Labels, Plane
from lightning_prune.coupling.mixtures import Mixture, find_mixtures
from lightning_prune.coupling.modes import Recording, record_modes
from lightning_prune.coupling.propagate import Propagation
from lightning_prune.coupling.rules import RULES
from lightning_prune.coupling.solve import Solution, solve, stuck_grids
from lightning_prune.coupling.text import shorten, spell_out
from lightning_prune.coupling.unused import freeze_readable, may_read, unused_parameters
from lightning_prune.display.plots import draw_bars, require_axes
from lightning_prune.display.widths import terminal_width
from lightning_prune.modules.fake import fake_mode, real
from lightning_prune.modules.garbage import no_full_collections
from lightning_prune.modules.inputs import ExampleInputs, examples_of
from lightning_prune.units.cost import element_cost
from lightning_prune.units.group import Group, Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Coupling:
    """Which units a model has, and what is frozen.

    It prints one line for each group, in the width of the terminal; `details` returns the rest.

    Args:
        groups: coupled axes that share their units, in the order of the network.
        frozen: what cannot be removed, with the reason.
        unused: names of the parameters, of more than one element, that no example runs.
        prices: multiply-adds per element of each weight, for a small batch of every measured
            example.
        grouped: weights of grouped convolutions and group norms that lose whole groups.
        shapes: of every parameter, by name.
        traces: the recorded passes with their labels.
        branches: residual branches, in the order of the network.
        mixtures: mixtures of experts whose weights are stacked, in the order of the network.
        expert_lists: mixtures of experts that are modules in a list, likewise.
    """

    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    unused: tuple[str, ...]
    prices: dict[str, float]
    grouped: frozenset[str]
    shapes: dict[str, torch.Size]
    traces: Traces
    branches: tuple[Branch, ...]
    mixtures: tuple[Mixture, ...] = ()
    expert_lists: tuple[ExpertList, ...] = ()

    @property
    def prunable(self) -> int:
        """Elements of parameters that lie on at least one unit."""
        return int(element_cost(self.groups, self.shapes).prunable)

    @property
    def structure(self) -> Structure:
        """The units that the model has."""
        branches = tuple(branch.group(self.shapes) for branch in self.branches)
        mixtures = [mixture.group for mixture in self.mixtures]
        mixtures += [modules.group(self.shapes) for modules in self.expert_lists]
        return Structure(self.groups, branches, tuple(mixtures))

    @property
    def readable(self) -> dict[str, str]:
        """Modules of which something stays because an unused parameter may read it, and why."""
        reasons = {may_read(name) for name in self.unused}
        modules = {_module_of(frozen): frozen for frozen in self.frozen}
        return {name: f.reason for name, f in modules.items() if f.reason in reasons}

    @property
    def refused(self) -> dict[str, str]:
        """Modules of which something stays, but not as an output, and why."""
        return {_module_of(f): f.reason for f in self.frozen if not f.reason.startswith(OUTPUT)}

    @override
    def __str__(self) -> str:
        return shorten(self, terminal_width())

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw how many parameters lie on the units of every group; needs matplotlib.

        A weight that one group writes and another one reads lies on the units of both.

        Args:
            axes: where to draw; a new figure if ``None``.

        Returns:
            The axes drawn on.

        Raises:
            ImportError: if matplotlib is missing.
        """
        axes = require_axes(axes, len(self.groups))
        counts = [element_cost([group], self.shapes).prunable for group in self.groups]
        draw_bars(axes, [group.name for group in self.groups], counts, label="parameters")
        return axes

    def details(self) -> str:
        """Return every member of every group, every branch and every frozen axis, however long."""
        return spell_out(self)


def _module_of(frozen: Frozen) -> str:
    return frozen.axis.tensor.rpartition(".")[0] or frozen.axis.tensor


@no_full_collections()
def couple(model: nn.Module, example_inputs: Any, *, allow_unused: bool = False) -> Coupling:
    """Find which channels of ``model`` live and die together.

    Args:
        model: any module.
        example_inputs: what ``model(...)`` takes: a tensor, a tuple of positional arguments, a
            dict of keyword arguments or a `Call` of another method, or a list of such examples;
            their values do not matter. Model and inputs may be built under ``FakeTensorMode``,
            without numbers.
        allow_unused: units may also go where a parameter that no example runs might read them.

    Returns:
        Groups of coupled units, and everything that is frozen with the reason.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
        TypeError: if ``model`` is no module, or ``allow_unused`` neither True nor False.
    """
    check_model(model)
    check_flags(allow_unused=allow_unused)
    examples = [_on(model, example) for example in examples_of(example_inputs)]
    recordings = record_modes(model, examples)
    with real():
        return _analyse(model, recordings, allow_unused)


def _on(model: nn.Module, inputs: ExampleInputs) -> ExampleInputs:
    """Return the inputs on the device and in the type of the model, fake where the model is."""
    mode = fake_mode(model.parameters())
    if mode is None:
        return inputs.on(model)
    return inputs.map(lambda t: t if fake_mode([t]) else mode.from_tensor(t)).on(model)


def _analyse(model: nn.Module, recordings: Sequence[Recording], allow_unused: bool) -> Coupling:
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    parts = _Parts(
        find_branches(recordings),
        find_mixtures(recordings, shapes),
        find_expert_lists(recordings, shapes),
    )
    found: list[Coupling] = []
    for picks in (True, False):
        labelled = _label(recordings, Labels(picks=picks))
        unchangeable = unchangeable_buffers(model, labelled.labels)
        if unchangeable:
            labelled = _label(recordings, Labels(unchangeable=unchangeable, picks=picks))
        found.append(_coupling(model, labelled, parts, allow_unused))
        stuck = stuck_grids(labelled.labels, labelled.solution)
        if stuck.any():  # where heads must stay, their features may go
            again = _label(recordings, Labels(stuck, unchangeable, picks=picks))
            found.append(_coupling(model, again, parts, allow_unused))
        picked = labelled.solution.component[labelled.labels.marked("picked")]
        if not labelled.solution.frozen[picked].any():
            break
        # What meets a computed value may be tied to more later on, of which nothing can go.
    return max(found, key=lambda coupling: coupling.prunable)


class _Parts(NamedTuple):
    """What does not depend on labels."""

    branches: tuple[Branch, ...]
    mixtures: tuple[Mixture, ...]
    expert_lists: tuple[ExpertList, ...]


@dataclass(frozen=True, eq=False)
class _Labelled:
    """The recordings with their labels, and what came of these."""

    traces: tuple[Trace, ...]
    labels: Labels
    solution: Solution
    prices: dict[str, float]


def _label(recordings: Sequence[Recording], labels: Labels) -> _Labelled:
    prices: dict[str, float] = {}
    traces = []
    followed: dict[int, Mapping[Ref, list[Plane]]] = {}
    for recording in recordings:  # those in eval mode come first, and there those that are measured
        is_measured = recording.inputs.measured and not recording.training
        planes = followed.get(id(recording.graph))
        if planes is None or is_measured:  # what the same pass costs counts again
            planes = Propagation(recording.graph, labels, RULES).run()
            followed[id(recording.graph)] = planes
        traces.append(Trace(recording.graph, planes, recording.inputs, recording.training))
        prices = dict(labels.prices) if is_measured else prices
    return _Labelled(tuple(traces), labels, solve(labels), prices)


def _coupling(model: nn.Module, labelled: _Labelled, parts: _Parts, allow_unused: bool) -> Coupling:
    labels, solution = labelled.labels, labelled.solution
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    unused = unused_parameters(model, [trace.graph for trace in labelled.traces])
    if not allow_unused:
        of_unused = {name: shapes[name] for name in unused}
        solution = freeze_readable(labels, solution, labelled.traces, of_unused)
    groups, frozen = build_groups(labels, solution)
    return Coupling(
        groups,
        frozen,
        unused,
        labelled.prices,
        frozenset(labels.grouped),
        shapes,
        Traces(labelled.traces, labels, solution.component),
        *parts,
    )
