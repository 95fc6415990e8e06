"""Batches of calibration data that were passed to a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.nesting import tensors_in
from lightning_prune.pruning.comparing.judge import HeldOut, Judge, average_loss
from lightning_prune.pruning.compensating.mending import Calibration
from lightning_prune.pruning.compensating.norms import Run

Loss = Callable[[nn.Module, Any], Tensor]


class FirstBatches:
    """An iterable of batches that remembers the first of them, for it may be read only once.

    Args:
        batches: what is read.
        samples: how many examples are remembered, to the end of a batch.
    """

    def __init__(self, batches: Iterable[Any], samples: int) -> None:
        self._batches, self._samples = batches, samples
        self._first: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        seen = 0
        self._first = []
        for batch in self._batches:
            if seen < self._samples:
                self._first.append(batch)
                seen += batch_size(batch)
            yield batch

    @property
    def first(self) -> list[Any]:
        """The batches that are remembered; they are read if none was."""
        if not self._first:
            batches = iter(self)
            seen = 0
            while seen < self._samples and (batch := next(batches, None)) is not None:
                seen += batch_size(batch)
        return self._first


def calibration_of(
    batches: FirstBatches,
    loss: Loss | None,
    *,
    holds_out: bool = False,
    add_up: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Calibration:
    """Return batches as calibration data.

    Args:
        batches: the batches.
        loss: runs a model on one; ``None`` = a batch is what ``model(...)`` takes.
        holds_out: every second batch is held out, and judges by the loss.
        add_up: returns the sum of a tensor over all ranks.
    """
    if not holds_out or loss is None:
        return Calibration(lambda: runs_on(batches.first, loss), add_up)

    def measure(model: nn.Module) -> float:
        return average_loss(model, held_out_of(batches.first[1::2], loss), add_up)

    return Calibration(lambda: runs_on(batches.first[::2], loss), add_up, Judge(measure))


def held_out_of(batches: Sequence[Any], loss: Loss, argument: str = "batches") -> list[HeldOut]:
    """Return batches as held-out data.

    Args:
        batches: the batches.
        loss: ``loss(model, batch)`` returns the average over the examples of one.
        argument: where they come from.

    Raises:
        ValueError: if there is none.
    """
    if not batches:
        raise ValueError(
            f"Expected `{argument}` to have a batch that can be held out, but got too few. Pass "
            "more batches, or smaller ones."
        )
    return [HeldOut(partial(_run, loss, batch), batch_size(batch)) for batch in batches]


def runs_on(batches: Sequence[Any], loss: Loss | None) -> list[Run]:
    """Return what runs a model on each of these batches.

    Args:
        batches: the batches.
        loss: what runs it; ``None`` = a batch is what ``model(...)`` takes.
    """
    if loss is not None:
        return [partial(_run, loss, batch) for batch in batches]
    return [partial(_call, batch) for batch in batches]


def batch_size(batch: Any) -> int:
    """Return how many examples there are in a batch: the first dimension of its first tensor."""
    first = next(iter(tensors_in(batch)), None)
    return first.shape[0] if first is not None and first.dim() else 1


def _run(loss: Loss, batch: Any, model: nn.Module) -> Any:
    return loss(model, batch)


def _call(batch: Any, model: nn.Module) -> Any:
    return ExampleInputs.of(batch).on(model)(model)
