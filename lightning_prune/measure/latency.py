"""Latency: milliseconds for one forward pass of any module.

The model runs as a copy in eval mode (`twin`), without gradients, and each run is timed by itself
with the accelerator synchronised on both sides. Nothing of the user's model, inputs or random
state changes. What is measured is the module as it is called here: not under autocast, even when
it is trained under autocast.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from lightning_prune.arguments import check_integer, check_model, check_positive
from lightning_prune.display.tables import format_table
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import twin

# Quantiles no longer move after so many runs; a tiny model would otherwise collect for nothing.
_MAX_RUNS = 1000


@dataclass(frozen=True)
class Latency:
    """Latency of one forward pass.

    Args:
        p50_ms: median over the runs, in ms.
        p95_ms: 95th percentile over the runs, in ms.
        runs: number of timed runs.
        batch_size: first dimension of the first input.
        device: where the model ran, such as ``"cuda:0"``.
        dtype: type of the model's floating parameters, such as ``"float32"``.
        threads: CPU threads that torch used.
        measuring_s: wall time of the whole measurement in seconds: copies, warm-up and, when
            several models were measured in turns, all of them.
    """

    p50_ms: float
    p95_ms: float
    runs: int
    batch_size: int
    device: str
    dtype: str
    threads: int
    measuring_s: float

    @override
    def __str__(self) -> str:
        header = ["latency", "p95 ms", "runs", "batch", "device", "dtype", "threads"]
        row = [f"{self.p50_ms:.3f} ms", f"{self.p95_ms:.3f}", str(self.runs), str(self.batch_size)]
        return format_table(header, [[*row, self.device, self.dtype, str(self.threads)]])


def measure_latency(
    model: nn.Module,
    example_inputs: Any,
    *,
    warmup_runs: int = 5,
    min_runs: int = 20,
    max_seconds: float = 2.0,
) -> Latency:
    """Measure the latency of one forward pass.

    Args:
        model: any module; it stays as it is.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments. They are
            copied, to the model's device and floating type, before every run.
        warmup_runs: untimed runs before the first timed one, at least 0.
        min_runs: timed runs even where they take longer than ``max_seconds``, at least 1.
        max_seconds: when to stop, in seconds after the warm-up; at most 1000 runs are made.

    Returns:
        Quantiles over the runs and the conditions that they hold under.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if ``model`` is no module, or an argument no number.
        ExampleInputsError: if the model does not run on the inputs.
    """
    check_model(model)
    return measure_in_turns(
        [model],
        example_inputs,
        warmup_runs=warmup_runs,
        min_runs=min_runs,
        max_seconds=max_seconds,
    )[0]


def measure_in_turns(
    models: Sequence[nn.Module],
    example_inputs: Any,
    *,
    warmup_runs: int = 5,
    min_runs: int = 20,
    max_seconds: float = 2.0,
) -> list[Latency]:
    """Measure several models on the same inputs, run by run in turns.

    A machine that warms up or is shared drifts; in turns the drift hits every model alike, so the
    ratio of two medians is a speed-up that can be trusted.

    Args:
        models: at least one module; they stay as they are.
        example_inputs: as in `measure_latency`.
        warmup_runs: untimed runs of each model, at least 0.
        min_runs: timed runs of each model, at least 1.
        max_seconds: when to stop, in seconds after the warm-up, for all models together.

    Returns:
        One latency for each model, in order.

    Raises:
        ValueError: if ``models`` is empty or a number is out of range.
    """
    check_runs(warmup_runs, min_runs, max_seconds)
    if not models:
        raise ValueError(
            "Expected `models` to hold at least one module, but got none. Pass what to compare."
        )
    started_s = time.perf_counter()
    subjects = [_Subject(twin(model).eval(), example_inputs) for model in models]
    accelerators = sorted({d for s in subjects for d in s.accelerators}, key=str)
    rng_type = accelerators[0].type if accelerators else "cuda"
    with torch.random.fork_rng(accelerators, device_type=rng_type), torch.inference_mode():
        for _ in range(warmup_runs):
            for subject in subjects:
                subject.run_ms()
        turns_ms: list[list[float]] = []
        max_runs, deadline_s = max(min_runs, _MAX_RUNS), time.perf_counter() + max_seconds
        while len(turns_ms) < min_runs or (
            len(turns_ms) < max_runs and time.perf_counter() < deadline_s
        ):
            turns_ms.append([subject.run_ms() for subject in subjects])
    measuring_s = time.perf_counter() - started_s
    return [
        subject.latency([turn[index] for turn in turns_ms], measuring_s)
        for index, subject in enumerate(subjects)
    ]


def check_runs(warmup_runs: int, min_runs: int, max_seconds: float) -> None:
    """Check the arguments of `measure_latency`, for callers that keep them for later.

    Args:
        warmup_runs: at least 0.
        min_runs: at least 1.
        max_seconds: greater than 0, in seconds.

    Raises:
        ValueError: if one of them is out of range.
    """
    check_integer("warmup_runs", warmup_runs, 0, "Five are enough for most models.")
    check_integer("min_runs", min_runs, 1, "Percentiles settle at about 20.")
    check_positive("max_seconds", max_seconds, "For as few runs as possible, say 0.01.")


class _Subject:
    """A twin with its inputs."""

    def __init__(self, model: nn.Module, example_inputs: Any) -> None:
        self.model = model
        self.inputs = ExampleInputs.of(example_inputs).on(model)
        self.tensors = [*model.parameters(), *self.inputs.tensors, *model.buffers()]
        self.accelerators = {t.device for t in self.tensors} - {torch.device("cpu")}

    def run_ms(self) -> float:
        # A model may write into its inputs: every run gets fresh ones, outside of the clock.
        inputs = self.inputs.map(torch.clone)
        self._synchronize()
        started_ns = time.perf_counter_ns()
        inputs(self.model)
        self._synchronize()
        return (time.perf_counter_ns() - started_ns) / 1e6

    def _synchronize(self) -> None:
        for device in self.accelerators:
            torch.accelerator.synchronize(device)

    def latency(self, runs_ms: Sequence[float], measuring_s: float) -> Latency:
        quantiles = torch.tensor([0.5, 0.95], dtype=torch.float64)
        p50_ms, p95_ms = torch.tensor(runs_ms, dtype=torch.float64).quantile(quantiles).tolist()
        like = next((t for t in self.tensors if t.is_floating_point()), self.tensors[0])
        return Latency(
            p50_ms=p50_ms,
            p95_ms=p95_ms,
            runs=len(runs_ms),
            batch_size=self.inputs.batch_size,
            device=str(like.device),
            dtype=str(like.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            measuring_s=measuring_s,
        )
