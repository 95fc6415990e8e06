"""Batches of calibration data that were passed to a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.nesting import tensors_in
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

    def runs(self, loss: Loss | None) -> list[Run]:
        """Return what runs a model on each of the batches that are remembered.

        Args:
            loss: what runs it; ``None`` = a batch is what ``model(...)`` takes.
        """
        if not self._first:
            batches = iter(self)
            seen = 0
            while seen < self._samples and (batch := next(batches, None)) is not None:
                seen += batch_size(batch)
        if loss is not None:
            return [partial(_run, loss, batch) for batch in self._first]
        return [partial(_call, batch) for batch in self._first]


def batch_size(batch: Any) -> int:
    """Return how many examples there are in a batch: the first dimension of its first tensor."""
    first = next(iter(tensors_in(batch)), None)
    return first.shape[0] if first is not None and first.dim() else 1


def _run(loss: Loss, batch: Any, model: nn.Module) -> Any:
    return loss(model, batch)


def _call(batch: Any, model: nn.Module) -> Any:
    return ExampleInputs.of(batch).on(model)(model)
