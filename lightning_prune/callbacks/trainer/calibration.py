"""Calibration data of a training: examples of its training data, evenly spaced.

They are read from the data set itself, so that the order of the training stays as it is, and so
that a resumed training reads the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from lightning_prune.callbacks.trainer.example_inputs import can_run
from lightning_prune.callbacks.trainer.isolation import random_numbers_kept
from lightning_prune.callbacks.trainer.steps import RecordedSteps, try_steps
from lightning_prune.errors import ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.seeding import seeded
from lightning_prune.pruning import Recipe
from lightning_prune.pruning.comparing.judge import HeldOut, Judge, average_loss
from lightning_prune.pruning.compensating.batches import batch_size
from lightning_prune.pruning.compensating.mending import Calibration
from lightning_prune.pruning.compensating.norms import Run

_ROWS = 32
"""Examples in a batch where a data loader does not say how many."""


def calibration_in_training(
    trainer: L.Trainer,
    pl_module: L.LightningModule,
    given: Iterable[Any] | None,
    samples: int,
    *,
    holds_out: bool = False,
) -> Calibration | None:
    """Return calibration data of a training.

    A batch is run as the first step of the module that can be run on it alone, else by ``forward``
    on its first element, or on all of it.

    Args:
        trainer: the trainer.
        pl_module: the module that is trained.
        given: batches that the user has passed in place of those of the training, or None.
        samples: how many examples to read at most, over all ranks.
        holds_out: every second batch is held out, and judges by the loss of the training step.

    Returns:
        The data, None if the training data cannot be read but in their order.
    """
    if given is None and _loader(trainer) is None:
        return None

    @cache
    def batches() -> list[Any]:
        with _same_augmentations():
            source = _training_batches(trainer, samples) if given is None else given
            read = list(_first(source, samples))
        return [trainer.strategy.batch_to_device(batch) for batch in read]

    def add_up(tensor: torch.Tensor) -> torch.Tensor:
        return _add_up(trainer, pl_module, tensor)

    @cache
    def runs() -> list[Run]:
        return _runs(pl_module, batches()[:: 2 if holds_out else 1])

    @cache
    def held_out() -> list[HeldOut]:
        return _held_out(pl_module, batches()[1::2])

    judge = Judge(lambda model: average_loss(model, held_out(), add_up))
    return Calibration(runs, add_up, judge if holds_out else None)


def check_training_data(trainer: L.Trainer, pl_module: L.LightningModule, recipe: Recipe) -> None:
    """Refuse training data that do not do for what a recipe wants them for.

    Args:
        trainer: the trainer.
        pl_module: the module that is trained.
        recipe: compensates, or chooses among candidates.

    Raises:
        ValueError: if the data cannot be read but in their order, or candidates cannot be compared.
        ExampleInputsError: if the module does not run on a batch of them.
    """
    if _loader(trainer) is None:
        needs = recipe.criterion if recipe.chooses else recipe.compensation
        raise ValueError(
            f"Expected `calibration` to be given for {needs}, as the training data are no "
            "DataLoader of a data set with indices, but got None. Pass some batches of them."
        )
    with _same_augmentations():
        batches = list(islice(_training_batches(trainer, recipe.samples), 1))
    batches = [trainer.strategy.batch_to_device(batch) for batch in batches]
    if recipe.compensation is not None:
        _runs(pl_module, batches)
    if recipe.chooses:
        _held_out(pl_module, batches)


def first_batch(trainer: L.Trainer) -> Any | None:
    """Return a batch of the training data; None if they cannot be read but in their order.

    Args:
        trainer: the trainer, which need not train any more.
    """
    with _same_augmentations():
        batch = next(_training_batches(trainer, 2), None)
    return None if batch is None else trainer.strategy.batch_to_device(batch)


@contextmanager
def _same_augmentations() -> Iterator[None]:
    """Draw the same random numbers in a resumed run, and leave those of the training alone."""
    with random_numbers_kept(), seeded(0):
        random.seed(0)
        np.random.seed(0)
        yield


def _loader(trainer: L.Trainer) -> DataLoader[Any] | None:
    """Return the training's data loader, if its examples can be read in any order."""
    loader = trainer.train_dataloader
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
        return loader
    return None


def _training_batches(trainer: L.Trainer, samples: int) -> Iterator[Any]:
    """Yield batches of evenly spaced examples of the training data; every rank has its own."""
    loader = _loader(trainer)
    if loader is None:
        return
    total = len(loader.dataset)  # type: ignore[arg-type]
    chosen = torch.linspace(0, total - 1, min(samples, total)).round().long().tolist()
    mine = chosen[trainer.global_rank :: trainer.world_size] or chosen[:1]
    if loader.batch_size is not None or loader.batch_sampler is not None:
        for part in _parts(mine, loader.batch_size or _ROWS):
            yield loader.collate_fn([loader.dataset[index] for index in part])
    elif isinstance(loader.sampler, BatchSampler):  # the data set takes several indices at once
        for part in _parts(mine, loader.sampler.batch_size):
            yield loader.collate_fn(loader.dataset[part])
    else:  # an item is a batch
        yield from (loader.collate_fn(loader.dataset[index]) for index in mine)


def _parts(indices: list[int], rows: int) -> Iterator[list[int]]:
    """Yield so many indices at a time, but in at least two parts."""
    rows = min(rows, -(-len(indices) // 2))
    yield from (indices[start : start + rows] for start in range(0, len(indices), rows))


def _first(batches: Iterable[Any], samples: int) -> Iterator[Any]:
    """Yield batches until there are so many examples."""
    seen = 0
    for batch in batches:
        if seen >= samples:
            return
        seen += batch_size(batch)
        yield batch


def _held_out(pl_module: L.LightningModule, batches: Sequence[Any]) -> list[HeldOut]:
    """Return batches with the loss of the training step, on a copy of the module.

    Raises:
        ValueError: if there are none, or the step cannot be run on one by itself.
    """
    found = try_steps(pl_module, batches[0]) if batches else RecordedSteps()
    step = next((s for s in found.examples if s.method == "training_step"), None)
    if step is None or not batches:
        got = found.failures.get("training_step", "none" if batches else "a single batch of data")
        raise ValueError(
            "Expected a `training_step` that gives the loss of a batch on a copy of the module, by "
            f"which candidates are compared, and a batch to hold out, but got {got}. "
            "Choose one of the candidates by `compare`, and prune with it."
        )
    calls = [replace(step, args=(batch, *step.args[1:])) for batch in batches]
    return [HeldOut(call.loss, batch_size(b)) for call, b in zip(calls, batches, strict=True)]


def _runs(pl_module: L.LightningModule, batches: Sequence[Any]) -> list[Run]:
    """Return what runs a copy of the module on each batch.

    Raises:
        ExampleInputsError: if nothing does.
    """
    if not batches:
        return []
    found = try_steps(pl_module, batches[0])
    if found.examples:
        step = found.examples[0]
        return [partial(_call, replace(step, args=(b, *step.args[1:]))) for b in batches]
    for call_on in (_first_element, _all_of):
        if can_run(pl_module, call_on(batches[0])):
            return [partial(_call, call_on(batch)) for batch in batches]
    kind = type(pl_module).__name__
    raise ExampleInputsError(
        f"Expected batches for calibration on which a step or `forward` of {kind} runs by itself, "
        f"but got {type(batches[0]).__name__}, on which none does: {found.failures}. Pass "
        "`calibration=[batch, ...]` with what `forward` takes."
    )


def _first_element(batch: Any) -> ExampleInputs:
    return ExampleInputs((batch[0] if isinstance(batch, (tuple, list)) and batch else batch,))


def _all_of(batch: Any) -> ExampleInputs:
    """Return all elements as arguments."""
    if isinstance(batch, Mapping):
        return ExampleInputs((), dict(batch))
    return ExampleInputs(tuple(batch) if isinstance(batch, (tuple, list)) else (batch,))


def _call(call: ExampleInputs, model: nn.Module) -> Any:
    return call.on(model)(model)


def _add_up(trainer: L.Trainer, pl_module: L.LightningModule, tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum over all ranks, on the device where the tensor lies."""
    if trainer.world_size == 1:
        return tensor
    return trainer.strategy.reduce(tensor.to(pl_module.device), reduce_op="sum").to(tensor.device)
