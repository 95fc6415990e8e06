"""Modes: record a model in eval and in train mode, on every example.

Each recording is made on a twin of its own, so that no cache or buffer of one run is seen by the
next. Nothing of the user's model is changed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from lightning_prune.coupling.graph import Graph
from lightning_prune.coupling.record import LentParameterError, record
from lightning_prune.coupling.rules import RULES
from lightning_prune.coupling.unused import unused_parameters
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.outlining import NumbersNeededError, Outlining, can_outline
from lightning_prune.modules.twin import note_written, twin
from lightning_prune.runtime.attention import take_sizes_from_tensors
from lightning_prune.runtime.norms import show_as_plain_norms

log = logging.getLogger(__name__)

_TRACE_BATCH_SIZE = 2


@dataclass(frozen=True, eq=False)
class Recording:
    """One recorded pass.

    Args:
        graph: what ran.
        inputs: what the model was called with.
        training: whether it ran in train mode.
    """

    graph: Graph
    inputs: ExampleInputs
    training: bool


def record_modes(model: nn.Module, examples: Sequence[ExampleInputs]) -> list[Recording]:
    """Record a model in eval mode and, where it runs so, in train mode.

    Args:
        model: any module; twins of it run.
        examples: arguments for its methods, on its device.

    Returns:
        The recordings: first every example in eval mode, then in train mode; in each those that
        are measured come first.

    Raises:
        ExampleInputsError: if the model does not run on an example in eval mode.
    """
    return _sharing(_record_all(model, examples))


def _record_all(model: nn.Module, examples: Sequence[ExampleInputs]) -> list[Recording]:
    examples = sorted(examples, key=lambda example: not example.measured)
    devices = list({p.device for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        recordings = [_record_small(model, one, False) for one in examples]
        whole = list(examples)
        for one in examples:
            try:
                recordings.append(_record_small(model, one, True))
                whole.append(one)
            except ExampleInputsError as error:
                kind = type(model).__name__
                log.info("%s.%s was traced in eval mode only: %s", kind, one.method, error)
        if not unused_parameters(model, [recording.graph for recording in recordings]):
            return recordings
        pairs = zip(recordings, whole, strict=True)
        return [_with_more(model, recording, one) for recording, one in pairs]


def _sharing(recordings: Sequence[Recording]) -> list[Recording]:
    """Let recordings that did the very same hold the same graph, which is then followed once."""
    graphs: list[Graph] = []
    shared = []
    for recording in recordings:
        same = next((graph for graph in graphs if graph.is_same(recording.graph)), recording.graph)
        graphs += [same] if same is recording.graph else []
        shared.append(replace(recording, graph=same))
    return shared


def in_mode(model: nn.Module, training: bool) -> nn.Module:
    """Return a twin of ``model`` in the mode in which it is recorded.

    Args:
        model: any module.
        training: train mode, but for modules whose train mode couples nothing more.

    Returns:
        A twin with its sizes and types; what wide norms return is wrong in number.
    """
    copy = twin(model)
    take_sizes_from_tensors(copy)
    show_as_plain_norms(copy)
    copy.eval()
    if training:
        prepare_training(copy)
    return copy


def prepare_training(model: nn.Module) -> None:
    """Put a twin in train mode, but for modules whose train mode couples nothing more.

    Batch norms would ask for large batches, and dropout makes outputs random.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, (_NormBase, _DropoutNd)):
            module.eval()


def _record_small(model: nn.Module, inputs: ExampleInputs, training: bool) -> Recording:
    """Record with a small batch; with the whole one if the model does not run on less."""
    small = inputs.narrowed(_TRACE_BATCH_SIZE)
    try:
        return Recording(_recorded(model, small, training), small, training)
    except ExampleInputsError:
        if small is inputs:
            raise
        return Recording(_recorded(model, inputs, training), inputs, training)


def _recorded(model: nn.Module, inputs: ExampleInputs, training: bool) -> Graph:
    """Record a twin of a model; of parameters that it writes to it gets its own."""
    names: set[str] = set()
    while True:
        try:
            return _recorded_once(model, inputs, training)
        except LentParameterError as error:
            if names.issuperset(error.names):  # a module that cannot be given others
                raise ExampleInputsError(
                    f"Expected `{type(model).__name__}.{inputs.method}` to leave its parameters as "
                    f"they are, but it writes to {', '.join(error.names)}, of which no copy can be "
                    "made. Write to them in the training step instead."
                ) from error
            names.update(error.names)
            note_written(model, error.names)


def _recorded_once(model: nn.Module, inputs: ExampleInputs, training: bool) -> Graph:
    """Record a twin of a model, with numbers only where these decide what runs."""
    if can_outline(model, inputs.tensors):
        try:
            copy = in_mode(model, training)
            return record(copy, inputs, RULES.__contains__, outlining=Outlining(), lender=model)
        except (NumbersNeededError, ExampleInputsError) as error:
            log.debug("%s is recorded with numbers: %s", type(model).__name__, error)
    return record(in_mode(model, training), inputs, RULES.__contains__, lender=model)


def _with_more(model: nn.Module, small: Recording, inputs: ExampleInputs) -> Recording:
    """Return a recording of the whole batch if that runs more parameters.

    Of a mixture, a small batch may choose few experts.
    """
    if small.inputs is inputs:
        return small
    try:
        graph = _recorded(model, inputs, small.training)
    except ExampleInputsError:
        return small
    counts = [len(unused_parameters(model, [one])) for one in (small.graph, graph)]
    return Recording(graph, inputs, small.training) if counts[1] < counts[0] else small
