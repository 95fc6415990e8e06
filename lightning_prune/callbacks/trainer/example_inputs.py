"""Where callbacks find example inputs: their argument, the LightningModule, its steps, a batch."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_prune.callbacks.trainer.steps import RecordedSteps, run, try_steps
from lightning_prune.coupling.modes import in_mode
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.gathering import has_shards
from lightning_prune.modules.inputs import ExampleInputs, examples_of
from lightning_prune.modules.news import is_news

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingExamples:
    """What the callbacks couple and verify.

    Args:
        calls: of ``forward`` and of the steps that can be recorded, at least one; in the memory of
            the CPU, and the same on every rank.
        averaged: names of frozen parameters that a step changes by itself.
    """

    calls: list[ExampleInputs]
    averaged: frozenset[str] = frozenset()


def examples_in_training(
    explicit: Any, pl_module: L.LightningModule, batch: Any | None
) -> TrainingExamples:
    """Return calls of ``forward`` and of the steps of a module in training.

    ``forward`` is called as `find_example_inputs` says, but for the batch: what a step calls it
    with comes first. A module that cannot be called by ``forward`` is so by its steps alone. Those
    of a sharded module are not recorded.

    Args:
        explicit: as in `find_example_inputs`.
        pl_module: as in `find_example_inputs`.
        batch: as in `find_example_inputs`.

    Returns:
        The calls.

    Raises:
        ExampleInputsError: if there are none.
    """
    if batch is None or has_shards(pl_module):
        forward = require_example_inputs(explicit, pl_module, batch)
        return TrainingExamples([one.map(Tensor.cpu) for one in forward])
    steps = try_steps(pl_module, batch)
    _say_what_is_missing(pl_module, steps)
    forward = find_example_inputs(explicit, pl_module, None)
    if not forward and steps.forward is not None:
        forward = [steps.forward]
    recorded = [step for step in steps.examples if step.method not in {f.method for f in forward}]
    if not forward and recorded:
        guessed = find_example_inputs(None, pl_module, batch)
        forward = [one for one in guessed if can_run(pl_module, one)]
        if not forward:
            recorded[0] = replace(recorded[0], measured=True)
    elif not forward:
        forward = require_example_inputs(explicit, pl_module, batch)
    calls = [call.map(lambda t: t.detach().cpu()) for call in [*forward, *recorded]]
    found = TrainingExamples(calls, steps.averaged)
    trainer = pl_module._trainer
    return found if trainer is None else trainer.strategy.broadcast(found)


def require_forward_inputs(
    explicit: Any, pl_module: L.LightningModule, batch: Any | None
) -> ExampleInputs:
    """Return one call of ``forward``, as `examples_in_training` finds it.

    Args:
        explicit: as in `find_example_inputs`.
        pl_module: as in `find_example_inputs`.
        batch: as in `find_example_inputs`.

    Raises:
        ExampleInputsError: if there is none.
    """
    given = find_example_inputs(explicit, pl_module, None)
    called = None if given or batch is None else try_steps(pl_module, batch).forward
    found = [called] if called is not None else require_example_inputs(explicit, pl_module, batch)
    return found[0]


def can_run(pl_module: L.LightningModule, example: ExampleInputs) -> bool:
    """Return whether a module runs on an example, in eval mode.

    Args:
        pl_module: the module; a copy of it runs.
        example: what it is called with.
    """
    try:
        run(in_mode(pl_module, False), example)
    except ExampleInputsError:
        return False
    return True


def _say_what_is_missing(pl_module: L.LightningModule, steps: RecordedSteps) -> None:
    for step, failure in steps.failures.items():
        kind = type(pl_module).__name__
        if step == "training_step":
            message = (
                f"The training step of {kind} is not coupled and verified with the model: "
                f"{failure}. What it alone reads is not known; see what the report calls unused."
            )
            if is_news(pl_module, message):
                rank_zero_warn(message)
        else:
            log.info("%s.%s is not recorded on a training batch: %s", kind, step, failure)


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
