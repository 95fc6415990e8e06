"""Changing: which parameters and buffers a forward pass changes, so that they are no constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.graph import Graph, Node, Ref
from lightning_prune.coupling.replay import run_twin, twin_as_recorded
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.outlining import NumbersNeededError, Outlining, can_outline


def find_changing(model: nn.Module, traces: Sequence[Trace]) -> set[str]:
    """Return the names of parameters and buffers that forward passes change.

    Args:
        model: the model; a twin of it runs.
        traces: recordings of it. They keep batch norms in eval mode, so all of their statistics
            count as changing.

    Returns:
        What is written in place, and buffers that are not what they were after a pass.

    Raises:
        ExampleInputsError: if the model does not run.
    """
    changing = {name for trace in traces for name in _written(trace.graph)}
    before = dict(model.named_buffers())
    for trace in traces if before else ():
        if _leaves_alone(model, trace):
            continue
        copy = twin_as_recorded(model, trace)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            trace.inputs.map(torch.clone)(copy)
        after = dict(copy.named_buffers())
        changing |= {
            name
            for name, buffer in before.items()
            if name not in after or not torch.equal(buffer, after[name])
        }
    return changing


def _leaves_alone(model: nn.Module, trace: Trace) -> bool:
    """Tell whether a pass, run for its shapes, touches no buffer; False also if that is unknown."""
    if not can_outline(model, trace.inputs.tensors):
        return False
    copy, outlining = twin_as_recorded(model, trace), Outlining()
    held = dict(copy.named_buffers())
    numbers = {name: (buffer.clone(), buffer._version) for name, buffer in held.items()}
    try:
        run_twin(copy, trace, [outlining])
        outlining.finish()
    except (NumbersNeededError, ExampleInputsError):
        return False
    after = dict(copy.named_buffers())
    return all(
        after.get(name) is buffer
        and buffer._version == numbers[name][1]
        and not outlining.is_made_up(buffer)
        and torch.equal(buffer, numbers[name][0])
        for name, buffer in held.items()
    )


def _written(graph: Graph) -> Iterator[str]:
    for node in graph:
        for ref in (*node.aliases, *_targets(node)):
            name = graph[ref].name
            if name is not None:
                yield name


def _targets(node: Node) -> Iterator[Ref]:
    """Yield what an operation writes: arguments in place, and the statistics of a batch norm."""
    for index, argument in enumerate(node.op._schema.arguments):
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        if is_written or argument.name in ("running_mean", "running_var"):
            value = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
            if isinstance(value, Ref):
                yield value
