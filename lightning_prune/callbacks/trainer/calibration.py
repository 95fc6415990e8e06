"""Calibration data of a training: examples of its training data, evenly spaced.

They are read from the data set itself, so that the order of the training stays as it is, and so
that a resumed training reads the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_prune.callbacks.trainer.example_inputs import require_example_inputs
from lightning_prune.callbacks.trainer.isolation import random_numbers_kept
from lightning_prune.callbacks.trainer.steps import RecordedSteps, try_steps
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.seeding import seeded
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

    A batch is run as the first step of the module that can be run on it alone, else by ``forward``.

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
        # Random augmentations are the same in a resumed run.
        with random_numbers_kept(), seeded(0):
            random.seed(0)
            np.random.seed(0)
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


def check_readable(trainer: L.Trainer, needs: object) -> None:
    """Refuse training data that cannot be read but in their order.

    Args:
        trainer: the trainer.
        needs: what needs them, None for nothing.

    Raises:
        ValueError: if they are so, and something needs them.
    """
    if needs is not None and _loader(trainer) is None:
        raise ValueError(
            f"Expected `calibration` to be given for {needs}, as the training data are no "
            "DataLoader of a data set with indices, but got None. Pass some batches of them."
        )


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
    whole = loader.batch_size is None and loader.batch_sampler is None  # an item is a batch
    rows = 1 if whole else min(loader.batch_size or _ROWS, -(-len(mine) // 2))
    for start in range(0, len(mine), rows):
        items = [loader.dataset[index] for index in mine[start : start + rows]]
        yield loader.collate_fn(items[0] if whole else items)


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
    """Return what runs a copy of the module on each batch."""
    steps = try_steps(pl_module, batches[0]).examples if batches else ()
    if steps:
        step = steps[0]
        calls: list[ExampleInputs] = [replace(step, args=(b, *step.args[1:])) for b in batches]
    else:
        calls = [require_example_inputs(None, pl_module, batch)[0] for batch in batches]
    return [partial(_call, call) for call in calls]


def _call(call: ExampleInputs, model: nn.Module) -> Any:
    return call.on(model)(model)


def _add_up(trainer: L.Trainer, pl_module: L.LightningModule, tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum over all ranks, on the device where the tensor lies."""
    if trainer.world_size == 1:
        return tensor
    return trainer.strategy.reduce(tensor.to(pl_module.device), reduce_op="sum").to(tensor.device)
