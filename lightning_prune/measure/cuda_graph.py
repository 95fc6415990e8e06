"""A CUDA graph: a forward pass recorded once and replayed, without Python and without launches.

What cannot be recorded is told before the recording begins, as far as torch tells: a recording that
breaks off leaves memory behind in some versions of torch. Nothing here takes the time.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lightning_prune.errors import CaptureError, ExampleInputsError
from lightning_prune.modules.inputs import ExampleInputs

_WARMUP_RUNS = 3
"""Kernels are chosen and libraries started in the first runs, which a recording must not hold."""


class CudaGraph:
    """A recorded forward pass. Nothing of the random state changes.

    Args:
        model: in eval mode, on one CUDA device.
        inputs: on the same device; they stay as they are.
        device: that device.

    Raises:
        ExampleInputsError: if the model does not run on the inputs.
        CaptureError: if it runs and cannot be recorded, with the reason.
    """

    def __init__(self, model: nn.Module, inputs: ExampleInputs, device: torch.device) -> None:
        self._given = inputs
        self._read = inputs.map(lambda t: t.detach().clone())  # every replay reads these addresses
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(device)
        with (
            torch.random.fork_rng([device], device_type="cuda"),
            torch.no_grad(),
            torch.cuda.device(device),
        ):
            stream.wait_stream(torch.cuda.current_stream())
            # Recorded on the stream of the warm-up, where the libraries have been started. A failed
            # recording does not give its stream back; leaving this block does.
            with torch.cuda.stream(stream):
                for _ in range(_WARMUP_RUNS):
                    self.refill()
                    self._read(model)
                self.refill()
                try:
                    self._record(model, stream)
                except (ExampleInputsError, RuntimeError) as error:
                    raise CaptureError(
                        "Expected the forward pass to be one that a CUDA graph can hold, but got "
                        f"this while it was recorded: {_reason(error)}. It must not wait for the "
                        "device, as `.item()` does; leave the graph out otherwise."
                    ) from error
            torch.cuda.current_stream().wait_stream(stream)

    def _record(self, model: nn.Module, stream: torch.cuda.Stream) -> None:
        with _no_waiting():
            self._read(model)
        self.refill()
        # Threads that load data may call CUDA meanwhile: only this thread must not.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._read(model)

    def refill(self) -> None:
        """Give what the next replay reads the values of the inputs: the model may write into it."""
        for read, given in zip(self._read.tensors, self._given.tensors, strict=True):
            read.copy_(given)

    def replay(self) -> None:
        """Run the forward pass; does not wait for the device."""
        self._graph.replay()


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Let torch raise where the host waits for the device, which no recording survives."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings(action="ignore"):  # it is a prototype, torch says
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):
            torch.cuda.set_sync_debug_mode(before)


def _reason(error: Exception) -> str:
    """Return the first line of what the model raised, or else of what the recording did."""
    inner = error.__context__
    raised = inner if isinstance(inner, ExampleInputsError) else error
    return str(raised.__cause__ or raised).partition("\n")[0].rstrip(".")
