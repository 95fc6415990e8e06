"""Replay: run a model again in the way in which a recording of it was made."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_prune.coupling.forecast import Trace
from lightning_prune.coupling.modes import in_mode
from lightning_prune.modules.caches import results
from lightning_prune.modules.fast_paths import composite_operations
from lightning_prune.modules.nesting import tensors_in
from lightning_prune.modules.outlining import Outlining
from lightning_prune.modules.seeding import seeded


def twin_as_recorded(model: nn.Module, trace: Trace) -> nn.Module:
    """Return a twin of ``model`` in the mode in which a recording was made."""
    return in_mode(model, trace.training)


def run_twin(
    copy: nn.Module, trace: Trace, modes: Sequence[TorchDispatchMode] = ()
) -> tuple[Tensor, ...]:
    """Run a twin that `twin_as_recorded` has made, on the inputs of the recording.

    Args:
        copy: the twin.
        trace: the recording.
        modes: see every operation, the last one first.

    Returns:
        The tensors that the model returned.

    Raises:
        ExampleInputsError: if it does not run.
    """
    inputs = trace.inputs.map(torch.clone)
    devices = {tensor.device for tensor in [*copy.parameters(), *inputs.tensors]}
    with seeded(0, devices), composite_operations(), contextlib.ExitStack() as stack:
        for mode in modes:
            if isinstance(mode, Outlining):
                mode.follow(inputs.tensors)
            stack.enter_context(mode)
        return tuple(tensors_in(results(inputs, copy)))
