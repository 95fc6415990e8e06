"""Where callbacks find example inputs: their own argument, the LightningModule, or a batch."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch import Tensor

from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs, examples_of


def find_example_inputs(
    explicit: Any, pl_module: L.LightningModule, batch: Any | None
) -> list[ExampleInputs]:
    """Return the examples that a callback should use.

    What was passed explicitly wins, a list of it being several examples; then
    ``pl_module.example_input_array``, where a list holds positional arguments as it does for
    Lightning; then the batch. Of a batch that is a tuple or list the first element is taken (the
    others are targets); it is passed to ``forward`` as its single positional argument, a dict or
    tuple too.

    Args:
        explicit: the callback's own ``example_inputs``, or None.
        pl_module: the module that is trained.
        batch: a batch of the training data loader, or None if there was none yet.

    Returns:
        The examples; none if there is no batch yet, or no tensor in front of it.
    """
    if explicit is not None:
        return examples_of(explicit)
    array = pl_module.example_input_array
    if array is not None:
        return [ExampleInputs.of(tuple(array) if isinstance(array, list) else array)]
    if isinstance(batch, (tuple, list)):
        batch = batch[0] if batch else None
    inputs = ExampleInputs((batch,))
    return [inputs.map(Tensor.detach)] if inputs.tensors else []


def require_example_inputs(
    explicit: Any, pl_module: L.LightningModule, batch: Any | None
) -> list[ExampleInputs]:
    """Return the examples that a callback should use, or say how to provide them.

    Args:
        explicit: as in `find_example_inputs`.
        pl_module: as in `find_example_inputs`.
        batch: as in `find_example_inputs`.

    Returns:
        The examples, at least one.

    Raises:
        ExampleInputsError: if there are none.
    """
    examples = find_example_inputs(explicit, pl_module, batch)
    if not examples:
        kind = type(batch).__name__
        found = "no batch" if batch is None else f"a {kind} without a tensor in front"
        raise ExampleInputsError(
            "Expected `example_inputs` to be passed, set on the LightningModule, or the first "
            f"element of a training batch, but got {found}. Set "
            f"`example_input_array` on {type(pl_module).__name__}, or pass `example_inputs=...` "
            "to the callback."
        )
    return examples
