"""Latency: milliseconds for one forward pass of any module.

The model runs as a copy in eval mode (`twin`), without gradients, and each run is timed by itself:
between two events of the device on CUDA, elsewhere by the clock with the accelerator synchronised
on both sides. With a CUDA graph a run is a replay. Nothing of the user's model, inputs or random
state changes. What is measured is the module as it is called here: not under autocast, even when it
is trained under autocast.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from typing_extensions import override

from lightning_prune.arguments import check_integer, check_model
from lightning_prune.display.tables import format_bytes, format_count, format_table
from lightning_prune.errors import CaptureError
from lightning_prune.measure.backend import Backend, check_backend, timed_by
from lightning_prune.measure.speedup import Speedup, paired_speedup, speedup_of
from lightning_prune.measure.timed_file import TimedFile
from lightning_prune.measure.timed_model import TimedModel, cpu_threads
from lightning_prune.measure.turns import check_runs, take_turns

log = logging.getLogger(__name__)


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
        backend: what ran the model; ``"eager"`` where a CUDA graph was asked for and none can hold
            the forward pass.
        peak_bytes: the most that results of operations took at once beside weights and inputs. On
            CUDA with the workspace of kernels, on the CPU without it; ``None`` where that cannot
            be followed: on other devices, in compiled code on the CPU, in other runtimes.
    """

    p50_ms: float
    p95_ms: float
    runs: int
    batch_size: int
    device: str
    dtype: str
    threads: int
    measuring_s: float
    backend: str = "eager"
    peak_bytes: int | None = None

    @property
    def samples_per_s(self) -> float:
        """Throughput: rows of the batch per second, at the median."""
        return 1000 * self.batch_size / self.p50_ms if self.p50_ms else float("inf")

    @override
    def __str__(self) -> str:
        peak = "-" if self.peak_bytes is None else format_bytes(self.peak_bytes)
        row = {
            "latency": f"{self.p50_ms:.3f} ms",
            "p95 ms": f"{self.p95_ms:.3f}",
            "samples/s": format_count(self.samples_per_s),
            "peak": peak,
            "runs": str(self.runs),
            "batch": str(self.batch_size),
            "device": self.device,
            "dtype": self.dtype,
            "threads": str(self.threads),
            "backend": self.backend,
        }
        return format_table(list(row), [list(row.values())])


@dataclass(frozen=True, eq=False)
class Turns:
    """Latencies of several models that were measured in turns.

    Args:
        latencies: one for each model, in order.
        runs_ms: the times, shape ``[turns, models]``.
    """

    latencies: tuple[Latency, ...]
    runs_ms: NDArray[np.float64]

    def speedup(self, after: int = 1) -> Speedup:
        """Return how many times as fast the model at index ``after`` is as the first one."""
        return speedup_of(self.runs_ms[:, 0], self.runs_ms[:, after])

    def paired(self, after: int = 1) -> Speedup:
        """Return the same as the median of the ratios of each turn."""
        return paired_speedup(self.runs_ms[:, 0], self.runs_ms[:, after])


def measure_latency(
    model: nn.Module,
    example_inputs: Any,
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    backend: Backend = "eager",
    warmup_runs: int = 5,
    min_runs: int = 20,
    max_seconds: float = 2.0,
) -> Latency:
    """Measure the latency of one forward pass, its throughput and its peak memory.

    Args:
        model: any module; it stays as it is.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments. They are
            copied, to the model's device and floating type, before every run.
        batch_size: the batch to which the inputs are brought, by repeating or leaving out rows, at
            least 1; ``None`` = as they are.
        threads: CPU threads for torch to use meanwhile, at least 1; ``None`` = as many as it does.
        backend: ``"eager"``, ``"compile"`` to run what `torch.compile` makes of the model,
            ``"cuda_graph"`` to replay its forward pass on a GPU without launching every kernel (one
            that cannot be recorded is measured ``"eager"``, and a warning says why), or a runtime
            on the CPU to which it is exported first: ``"onnxruntime"``, ``"openvino"`` or
            ``"executorch"``.
        warmup_runs: untimed runs in a window of the warm-up, at least 0. It goes on until the
            medians of two windows in a row are within 3%, or for half of ``max_seconds``.
        min_runs: timed runs even where they take longer than ``max_seconds``, at least 1.
        max_seconds: when to stop, in seconds after the warm-up; at most 1000 runs are made.

    Returns:
        Quantiles over the runs and the conditions that they hold under.

    Raises:
        ValueError: if a number is out of range, ``backend`` none of its words, or a CUDA graph is
            asked for and the model is not on one CUDA device.
        TypeError: if ``model`` is no module, or an argument no number.
        ModuleNotFoundError: if the backend is not installed.
        ExampleInputsError: if the model does not run on the inputs.
        ExportError: if `torch.export` does not follow the model, where the backend needs it.
    """
    check_model(model)
    return measure_in_turns(
        [model],
        example_inputs,
        batch_size=batch_size,
        threads=threads,
        backend=backend,
        warmup_runs=warmup_runs,
        min_runs=min_runs,
        max_seconds=max_seconds,
    ).latencies[0]


def measure_in_turns(
    models: Sequence[nn.Module],
    example_inputs: Any,
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    backend: Backend = "eager",
    warmup_runs: int = 5,
    min_runs: int = 20,
    max_seconds: float = 2.0,
    cpu_time: bool = False,
) -> Turns:
    """Measure several models on the same inputs, run by run in turns.

    A machine that warms up or is shared drifts; in turns the drift hits every model alike, so the
    ratio of two medians is a speed-up that can be trusted.

    Args:
        models: at least one module; they stay as they are.
        example_inputs: as in `measure_latency`.
        batch_size: as in `measure_latency`.
        threads: as in `measure_latency`.
        backend: as in `measure_latency`; where one model cannot be recorded, all are measured
            ``"eager"``.
        warmup_runs: as in `measure_latency`, for each model.
        min_runs: timed runs of each model, at least 1.
        max_seconds: when to stop, in seconds after the warm-up, for all models together.
        cpu_time: on the CPU, count the time that the calling thread is at work instead of the time
            that passes; see `cpu_time_counts`.

    Returns:
        One latency for each model, in order, and the times.

    Raises:
        ValueError: if ``models`` is empty, a number is out of range or ``backend`` none of its
            words.
        ModuleNotFoundError: if the backend is not installed.
    """
    check_runs(warmup_runs, min_runs, max_seconds)
    check_backend(backend)
    for name, number in (("batch_size", batch_size), ("threads", threads)):
        if number is not None:
            check_integer(name, number, 1, "Leave it out to measure as things are.")
    if not models:
        raise ValueError(
            "Expected `models` to hold at least one module, but got none. Pass what to compare."
        )

    def timed_all(backend: Backend) -> list[TimedModel | TimedFile]:
        options = {"cpu_time": cpu_time}
        return [timed_by(backend, one, example_inputs, batch_size, **options) for one in models]

    started_s = time.perf_counter()
    with cpu_threads(threads):
        try:
            timed = timed_all(backend)
        except CaptureError as error:
            log.warning("Latency is measured without a CUDA graph. %s", error)
            backend = "eager"
            timed = timed_all(backend)
    accelerators = sorted({d for it in timed for d in it.accelerators}, key=str)
    rng_type = accelerators[0].type if accelerators else "cuda"
    with (
        torch.random.fork_rng(accelerators, device_type=rng_type),
        torch.no_grad(),  # no inference mode: what user code keeps must be fit for training
        cpu_threads(threads),
    ):
        runs_ms = take_turns(
            [one.run_ms for one in timed],
            warmup_runs=warmup_runs,
            min_runs=min_runs,
            max_seconds=max_seconds,
        )
        used_threads = torch.get_num_threads()
        measuring_s = time.perf_counter() - started_s
        peaks = [one.peak_bytes() for one in timed]
    p50_ms, p95_ms = np.quantile(runs_ms, [0.5, 0.95], axis=0)
    latencies = []
    for index, one in enumerate(timed):
        like = next((t for t in one.tensors if t.is_floating_point()), one.tensors[0])
        latency = Latency(
            p50_ms=float(p50_ms[index]),
            p95_ms=float(p95_ms[index]),
            runs=len(runs_ms),
            batch_size=one.inputs.batch_size,
            device=str(like.device),
            dtype=str(like.dtype).removeprefix("torch."),
            threads=used_threads,
            measuring_s=measuring_s,
            backend=backend,
            peak_bytes=peaks[index],
        )
        latencies.append(latency)
    return Turns(tuple(latencies), runs_ms)
