"""Idling: modules of a branch that are called all the same do nothing.

They give back what they were given, in the form in which they used to return it; nobody reads it.
Where the branch writes into values, it is a copy, for the shortcut may be what they were given.
Where the sum of the branch itself cannot be changed, the last of them adds a single zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from lightning_prune.compaction.rewriting import Edit, edits_of
from lightning_prune.compaction.rewriting.call_site import digest, sources_along
from lightning_prune.coupling.branches import Branch
from lightning_prune.coupling.graph import Graph, Node
from lightning_prune.errors import RewriteError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import clone
from lightning_prune.runtime.corrections import ZERO, Form, GiveBack, form_of


@dataclass(frozen=True)
class Idle:
    """Modules that are to do nothing.

    Args:
        edits: for each module.
        reasons: for some parameters why the module that holds them cannot.
    """

    edits: Mapping[str, Edit]
    reasons: Mapping[str, str]


def idle(
    model: nn.Module,
    examples: Sequence[ExampleInputs],
    branches: Sequence[Branch],
    parameters: Sequence[str],
    *,
    silent: bool = False,
) -> Idle:
    """Let the modules that hold some parameters do nothing, as far as they only serve branches.

    Args:
        model: the model in full size.
        examples: arguments for its methods, on its device.
        branches: those that are taken out.
        parameters: names of parameters of theirs.
        silent: the one that runs last returns zero.

    Returns:
        What to change.
    """
    around = _modules_inside(branches, parameters)
    calls = _calls(model, examples, {name for outer in around.values() for name in outer})
    copies = any(graph.nodes[i].writes for graph, inside in _by_graph(branches) for i in inside)
    edits: dict[str, Edit] = {}
    forms: dict[str, Form] = {}
    reasons = {}
    for parameter, outer in around.items():
        name = next((name for name in outer if name in calls), None)
        if name is None:
            reasons[parameter] = f"{parameter} would be computed with all the same"
            continue
        try:
            forms[name] = form_of(calls[name].output, calls[name].args)
            edits[name] = _edit(model.get_submodule(name), GiveBack(forms[name], copies))
        except RewriteError as error:
            reasons[parameter] = str(error)
    last = _last(branches, edits) if silent else None
    if last is not None:
        if forms[last] is None or forms[last][0] not in {"tensor", "zeros"}:
            reasons |= dict.fromkeys(parameters, f"{last} returns more than a tensor")
        edits[last] = replace(edits[last], correction=GiveBack(ZERO))
    return Idle(edits, reasons)


def _edit(module: nn.Module, correction: GiveBack) -> Edit:
    source = digest(sources_along(edits_of(type(module))[0], "forward", ()))
    return Edit("forward", (), correction, source)


def _last(branches: Sequence[Branch], modules: Iterable[str]) -> str | None:
    """Return which of some modules computes last."""
    for graph, inside in _by_graph(branches):
        for place in sorted(inside, reverse=True):
            for name in modules:
                if f"{graph.nodes[place].module}.".startswith(f"{name}."):
                    return name
    return None


class _Called(NamedTuple):
    args: tuple[Any, ...]
    output: Any


def _calls(
    model: nn.Module, examples: Sequence[ExampleInputs], modules: Iterable[str]
) -> dict[str, _Called]:
    """Return with which arguments modules are called, and what they return, by name."""
    calls: dict[str, _Called] = {}
    copied = clone(model).eval()
    for name in modules:

        def note(module: nn.Module, args: tuple[Any, ...], output: Any, name: str = name) -> None:
            calls[name] = _Called(args, output)

        copied.get_submodule(name).register_forward_hook(note)
    with torch.no_grad():
        for inputs in examples:
            inputs.map(torch.clone)(copied)
    return calls


def _modules_inside(branches: Sequence[Branch], parameters: Iterable[str]) -> dict[str, list[str]]:
    """Return for parameters the modules with them, outer first, that work for branches alone."""
    busy: set[str] = set()
    for graph, inside in _by_graph(branches):
        idle = inside | graph.discarded()
        busy |= {
            f"{node.module}."
            for place, node in enumerate(graph)
            if place not in idle and not _passes_on(node)
        }
    found = {}
    for parameter in parameters:
        parts = parameter.split(".")
        outer = [".".join(parts[:end]) for end in range(1, len(parts))]
        found[parameter] = [m for m in outer if not any(b.startswith(f"{m}.") for b in busy)]
    return found


def _passes_on(node: Node) -> bool:
    """Tell whether an operation returns what it is given, like a cast to the same type."""
    return not node.writes and set(node.results) <= set(node.inputs)


def _by_graph(branches: Sequence[Branch]) -> list[tuple[Graph, set[int]]]:
    """Return every recording, and what of it computes for some branch alone."""
    sums = [one for branch in branches for one in branch.sums]
    graphs = [one.graph for one in branches[0].recordings]
    return [
        (graph, set[int]().union(*(one.inside for one in sums if one.graph is graph)))
        for graph in graphs
    ]
