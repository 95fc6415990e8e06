"""Where callbacks find example inputs: their own argument, the LightningModule, or a batch."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch import Tensor

from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs


def find_example_inputs(
    explicit: Any, pl_module: L.LightningModule, batch: Any | None
) -> ExampleInputs | None:
    """Return the example inputs that a callback should use.

    What was passed explicitly wins, then ``pl_module.example_input_array``, then the batch. Of a
    tuple or list the first element is taken (the others are targets); what is taken is passed to
    ``forward`` as its single positional argument, a dict or tuple too.

    Args:
        explicit: the callback's own ``example_inputs``, or None.
        pl_module: the module that is trained.
        batch: a batch of the training data loader, or None if there was none yet.

    Returns:
        The inputs, or None if there are none: no batch yet, or no tensor in front of it.
    """
    for given in (explicit, pl_module.example_input_array):
        if given is not None:
            return ExampleInputs.of(given)
    if isinstance(batch, (tuple, list)):
        batch = batch[0] if batch else None
    inputs = ExampleInputs((batch,))
    return inputs.map(Tensor.detach) if inputs.tensors else None


def require_example_inputs(
    explicit: Any, pl_module: L.LightningModule, batch: Any | None
) -> ExampleInputs:
    """Return the example inputs that a callback should use, or say how to provide them.

    Args:
        explicit: as in `find_example_inputs`.
        pl_module: as in `find_example_inputs`.
        batch: as in `find_example_inputs`.

    Returns:
        The inputs.

    Raises:
        ExampleInputsError: if there are none.
    """
    inputs = find_example_inputs(explicit, pl_module, batch)
    if inputs is None:
        kind = type(batch).__name__
        found = "no batch" if batch is None else f"a {kind} without a tensor in front"
        raise ExampleInputsError(
            "Expected `example_inputs` to be passed, set on the LightningModule, or the first "
            f"element of a training batch, but got {found}. Set "
            f"`example_input_array` on {type(pl_module).__name__}, or pass `example_inputs=...` "
            "to the callback."
        )
    return inputs
