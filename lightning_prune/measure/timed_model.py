"""A timed model: a copy of a model with its inputs, which can be timed run by run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lightning_prune.measure.cuda_graph import CudaGraph
from lightning_prune.measure.memory import peak_bytes
from lightning_prune.modules.inputs import ExampleInputs
from lightning_prune.modules.twin import clone


class TimedModel:
    """A twin in eval mode with its inputs.

    Args:
        model: any module; it stays as it is.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, a `Call`.
        batch_size: the batch to which the inputs are brought; ``None`` = as they are.
        compiled: time what `torch.compile` makes of the model.
        recorded: time replays of a CUDA graph.
        cpu_time: on the CPU, count the time that the calling thread is at work.

    Raises:
        ValueError: if a CUDA graph is asked for, and the model is not on one CUDA device.
        ExampleInputsError: if the inputs cannot be of that batch.
        CaptureError: if no CUDA graph can be made of the forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        batch_size: int | None = None,
        *,
        compiled: bool = False,
        recorded: bool = False,
        cpu_time: bool = False,
    ) -> None:
        self.model = clone(model).eval()
        inputs = ExampleInputs.of(example_inputs).on(self.model)
        self.inputs = inputs if batch_size is None else inputs.resized(batch_size)
        self.tensors = [*self.model.parameters(), *self.inputs.tensors, *self.model.buffers()]
        self.accelerators = {t.device for t in self.tensors} - {torch.device("cpu")}
        self._cpu_time = cpu_time and not self.accelerators
        self._compiled = compiled
        if compiled:
            called = getattr(self.model, self.inputs.method)
            setattr(self.model, self.inputs.method, torch.compile(called, dynamic=False))
        self._graph: CudaGraph | None = None
        if recorded:
            self._graph = CudaGraph(self.model, self.inputs, self._cuda_device())

    def run_ms(self) -> float:
        """Run once; return how many milliseconds it took."""
        run = self._prepared()
        self.synchronize()
        if self._on_cuda:
            return self._run_between_events(run)
        now_ns = time.thread_time_ns if self._cpu_time else time.perf_counter_ns
        started_ns = now_ns()
        run()
        self.synchronize()
        return (now_ns() - started_ns) / 1e6

    @property
    def _on_cuda(self) -> bool:
        return [device.type for device in self.accelerators] == ["cuda"]

    def _cuda_device(self) -> torch.device:
        if not self._on_cuda:
            places = ", ".join(sorted(map(str, self.accelerators))) or "cpu"
            raise ValueError(
                "Expected the model to be on one CUDA device for `backend='cuda_graph'`, but got "
                f"one on {places}. Move it there, or choose 'eager'."
            )
        return next(iter(self.accelerators))

    def _prepared(self) -> Callable[[], object]:
        """Return what runs once: a model may write into its inputs, so every run has fresh ones."""
        if self._graph is not None:
            self._graph.refill()
            return self._graph.replay
        inputs = self.inputs.map(torch.clone)
        return lambda: inputs(self.model)

    def _run_between_events(self, run: Callable[[], object]) -> float:
        with torch.cuda.device(next(iter(self.accelerators))):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end))

    def synchronize(self) -> None:
        """Wait until every accelerator is done."""
        for device in self.accelerators:
            torch.accelerator.synchronize(device)

    def peak_bytes(self) -> int | None:
        """Return the peak memory of one run, as `measure.memory.peak_bytes`.

        Compiled code on the CPU calls no operations that could be followed: that returns None.
        """
        if self._compiled and not self.accelerators:
            return None
        inputs = self.inputs.map(torch.clone)
        return peak_bytes(lambda: inputs(self.model), [*self.tensors, *inputs.tensors])


def cpu_time_counts() -> bool:
    """Return whether the time that one thread is at work is what a run takes on a machine at rest.

    Other processes lengthen a run, and hardly the time at work. That is measured finely enough on
    most systems, and says nothing where several threads work.
    """
    return torch.get_num_threads() == 1 and time.get_clock_info("thread_time").resolution <= 1e-6


@contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads of the CPU for a while; ``None`` = as many as it does.

    Args:
        threads: at least 1.

    Yields:
        Nothing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
