"""`LatencyMonitor`: logs how long a forward pass takes. It only looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import lightning as L
from torch import Tensor, nn
from typing_extensions import override

from lightning_prune.arguments import check_flags, check_integer
from lightning_prune.callbacks.trainer.example_inputs import (
    find_example_inputs,
    require_forward_inputs,
)
from lightning_prune.callbacks.trainer.monitors import Attempts
from lightning_prune.callbacks.trainer.namespaces import Callback
from lightning_prune.callbacks.trainer.strategies import check_strategy
from lightning_prune.compaction.compact_twin import compact_twin
from lightning_prune.measure.backend import Backend, check_backend
from lightning_prune.measure.latency import Latency, measure_in_turns, measure_latency
from lightning_prune.measure.turns import check_runs
from lightning_prune.modules.inputs import ExampleInputs

_LOGGED = ("p50_ms", "p95_ms", "measuring_s")
_AT_ONCE = 1e-9
"""Seconds after which to stop measuring: as soon as there is one run."""


@dataclass(frozen=True)
class _Condition:
    """Under what to measure; ``None`` = as it is in the fit.

    Args:
        key: what its metrics start with.
        batch_size: size of the first dimension of the inputs.
        threads: CPU threads.
    """

    key: str
    batch_size: int | None
    threads: int | None


class LatencyMonitor(Callback):
    """Log the latency of the module's ``forward`` after training epochs.

    Rank zero measures a copy of the module in eval mode; the training is not affected beyond the
    time that this takes, which is logged too. A module that cannot be measured is warned of once,
    after the first batch. Metrics: ``latency/p50_ms``, ``latency/p95_ms`` and
    ``latency/measuring_s``. Zeros do not make a model faster; compaction does. So the module is
    also measured as it would be compacted now, in turns with the module as it is:
    ``latency/compact_p50_ms``. That compact copy is **not verified**; what compaction would refuse
    may be smaller in it.

    With ``batch_sizes`` and ``threads`` the metrics of the first of each keep these keys. Those of
    any other pair are ``latency/batch32/threads2/p50_ms`` and so on, with the parts that were asked
    for.

    Args:
        every_n_epochs: measure after every n-th epoch, at least 1.
        batch_sizes: batches to which the inputs are brought, by repeating or leaving out rows;
            None for the batch that they have.
        threads: numbers of CPU threads; None for as many as torch uses.
        backend: ``"eager"``, ``"compile"``, ``"cuda_graph"`` on a GPU, or a runtime to which the
            module is exported before it is measured: ``"onnxruntime"``, ``"openvino"`` or
            ``"executorch"``.
        compact: also measure the module as it would be compacted.
        warmup_runs: untimed runs in a window of the warm-up, at least 0. It goes on until the
            medians of two windows in a row are within 3%, or for half of ``max_seconds``.
        min_runs: timed runs even where they take longer than ``max_seconds``, at least 1.
        max_seconds: when to stop, in seconds after the warm-up, greater than 0.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments of
            ``forward``. By default ``example_input_array`` of the LightningModule, or else what its
            steps call ``forward`` with, or the inputs in the first training batch. Of a list of
            examples the first is measured.

    Attributes:
        latency: the last measurement under the first conditions, or None before the first and on
            all ranks but zero.
        compact_latency: the same of the compact copy.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if an argument is no number.
        ModuleNotFoundError: if the backend is not installed.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int = 1,
        batch_sizes: Sequence[int] | None = None,
        threads: Sequence[int] | None = None,
        backend: Backend = "eager",
        compact: bool = True,
        warmup_runs: int = 3,
        min_runs: int = 10,
        max_seconds: float = 0.5,
        example_inputs: Any = None,
    ) -> None:
        cure = "To measure nothing, remove the callback."
        check_integer("every_n_epochs", every_n_epochs, 1, cure)
        check_runs(warmup_runs, min_runs, max_seconds)
        check_flags(compact=compact)
        check_backend(backend)
        _check_numbers("batch_sizes", batch_sizes)
        _check_numbers("threads", threads)
        self.every_n_epochs = every_n_epochs
        self.batch_sizes = batch_sizes
        self.threads = threads
        self.backend = backend
        self.compact = compact
        self.warmup_runs = warmup_runs
        self.min_runs = min_runs
        self.max_seconds = max_seconds
        self.example_inputs = example_inputs
        self.latency: Latency | None = None
        self.compact_latency: Latency | None = None
        self._inputs: ExampleInputs | None = None
        self._start()

    def _start(self) -> None:
        self._attempts = Attempts("LatencyMonitor")
        self._compacting = Attempts("LatencyMonitor(compact=True)")
        self._tried = False

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse sharded modules: a forward pass on rank zero alone would wait for the others."""
        check_strategy(
            trainer,
            "LatencyMonitor",
            untried=True,  # it only looks
            sharded="Remove LatencyMonitor and call `measure_latency` on the trained module.",
        )

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier fit."""
        self._inputs = None
        self._start()

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Find the example inputs at the first batch, so that missing ones are reported at once."""
        if self._inputs is None:
            inputs = require_forward_inputs(self.example_inputs, pl_module, batch)
            # Kept for the whole fit, so not in the accelerator's memory.
            self._inputs = inputs.map(Tensor.cpu)

    @override
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measure once after the first batch, so that what is wrong shows at once."""
        if self._tried or self._inputs is None or not trainer.is_global_zero:
            return
        self._tried = True
        with self._attempts.attempt():
            measure_latency(
                pl_module,
                self._inputs,
                backend=self.backend,
                warmup_runs=0,
                min_runs=1,
                max_seconds=_AT_ONCE,
            )

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and log."""
        if (
            self._attempts.failed
            or (trainer.current_epoch + 1) % self.every_n_epochs
            or not trainer.is_global_zero
        ):
            return
        # A run resumed from a checkpoint of a validation end comes here before its first batch;
        # without other inputs it measures from the next epoch on.
        found = find_example_inputs(self.example_inputs, pl_module, None)
        inputs = self._inputs or next(iter(found), None)
        if inputs is None:
            return
        with self._attempts.attempt():
            models = [pl_module, *self._compact_twins(pl_module, inputs)]
            metrics: dict[str, float] = {}
            for condition in reversed(self._conditions()):  # the first is measured last, and stays
                metrics |= self._measure(models, inputs, condition)
            # Together these two mean: no collective, and no warning about the lack of one.
            pl_module.log_dict(metrics, rank_zero_only=True, sync_dist=True, batch_size=1)

    def _compact_twins(self, model: nn.Module, inputs: ExampleInputs) -> list[nn.Module]:
        """Return the compact copy, or nothing where there is or should be none."""
        if self.compact and not self._compacting.failed:
            with self._compacting.attempt():
                return [compact_twin(model, inputs)]
        return []

    def _conditions(self) -> list[_Condition]:
        as_is: Sequence[int | None] = [None]
        pairs = list(product(self.batch_sizes or as_is, self.threads or as_is))
        return [_Condition(_key(*pair, first=pair == pairs[0]), *pair) for pair in pairs]

    def _measure(
        self, models: Sequence[nn.Module], inputs: ExampleInputs, condition: _Condition
    ) -> dict[str, float]:
        """Return the metrics under one condition."""
        self.latency, *compact = measure_in_turns(
            models,
            inputs,
            batch_size=condition.batch_size,
            threads=condition.threads,
            backend=self.backend,
            warmup_runs=self.warmup_runs,
            min_runs=self.min_runs,
            max_seconds=self.max_seconds,
        ).latencies
        self.compact_latency = next(iter(compact), None)
        metrics = {name: getattr(self.latency, name) for name in _LOGGED}
        if self.compact_latency is not None:
            metrics["compact_p50_ms"] = self.compact_latency.p50_ms
        return {f"{condition.key}/{name}": value for name, value in metrics.items()}


def _key(batch_size: int | None, threads: int | None, *, first: bool) -> str:
    parts = {"batch": batch_size, "threads": threads}
    named = [f"{name}{number}" for name, number in parts.items() if number is not None]
    return "/".join(["latency", *([] if first else named)])


def _check_numbers(argument: str, numbers: Sequence[int] | None) -> None:
    """Refuse what is no list of integers of at least 1.

    Raises:
        ValueError: if one is smaller, or there is none.
        TypeError: if it is no list, or one is no integer.
    """
    cure = "Leave it out to measure as things are."
    if numbers is None:
        return
    if not isinstance(numbers, (list, tuple)):
        raise TypeError(
            f"Expected `{argument}` to be a list of integers, but got {numbers!r}. {cure}"
        )
    if not numbers:
        raise ValueError(f"Expected `{argument}` to hold an integer, but got none. {cure}")
    for number in numbers:
        check_integer(argument, number, 1, cure)
