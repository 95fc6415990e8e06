"""The backend: what runs the model while it is timed."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import nn

from lightning_prune.arguments import check_choice
from lightning_prune.formats import find_formats
from lightning_prune.measure.timed_file import RUNTIMES, TimedFile
from lightning_prune.measure.timed_model import TimedModel

Backend = Literal["eager", "compile", "cuda_graph", "onnxruntime", "openvino", "executorch"]
"""Torch, what `torch.compile` or a CUDA graph makes of the model, or another runtime on the CPU."""


def check_backend(backend: object, name: str = "backend") -> None:
    """Refuse what is no backend, or one that is not installed.

    Args:
        backend: one of the words of `Backend`.
        name: of the argument.

    Raises:
        ValueError: if it is none.
        ModuleNotFoundError: if it is not installed.
    """
    check_choice(name, backend, get_args(Backend), "It says what runs the model.")
    if backend in RUNTIMES:
        find_formats([RUNTIMES[str(backend)]])


def timed_by(
    backend: Backend,
    model: nn.Module,
    example_inputs: Any,
    batch_size: int | None = None,
    *,
    cpu_time: bool = False,
) -> TimedModel | TimedFile:
    """Return a model as a backend runs it, ready to be timed.

    Args:
        backend: what runs the model.
        model: any module; it stays as it is.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, a `Call`.
        batch_size: the batch to which the inputs are brought; ``None`` = as they are.
        cpu_time: on the CPU, count the time that the calling thread is at work.

    Raises:
        ValueError: if a CUDA graph is asked for, and the model is not on one CUDA device.
        CaptureError: if none can be made of the forward pass.
    """
    if backend in RUNTIMES:
        return TimedFile(model, example_inputs, batch_size, backend, cpu_time=cpu_time)
    return TimedModel(
        model,
        example_inputs,
        batch_size,
        compiled=backend == "compile",
        recorded=backend == "cuda_graph",
        cpu_time=cpu_time,
    )
