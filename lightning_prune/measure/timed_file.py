"""A timed file: a model that was written for another runtime and loaded there, with its inputs."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.formats import FORMATS, Exportable
from lightning_prune.modules.inputs import ExampleInputs

RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino", "executorch": "executorch"}
"""The format that each runtime reads."""


class TimedFile:
    """A model in another runtime on the CPU, with its inputs; the file itself is gone again.

    The runtime uses as many threads as torch does when this is made.

    Args:
        model: any module; it stays as it is.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, a `Call`.
        batch_size: the batch to which the inputs are brought; ``None`` = as they are.
        runtime: a key of `RUNTIMES`.
        cpu_time: count the time that the calling thread is at work, where it does all of it.

    Raises:
        ExampleInputsError: if the inputs cannot be of that batch.
        ExportError: if `torch.export` does not follow the model.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        batch_size: int | None = None,
        runtime: str = "onnxruntime",
        *,
        cpu_time: bool = False,
    ) -> None:
        inputs = ExampleInputs.of(example_inputs)
        self.inputs = inputs if batch_size is None else inputs.resized(batch_size)
        form = FORMATS[RUNTIMES[runtime]]
        with (
            TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            torch.random.fork_rng([]),
            torch.inference_mode(False),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")  # of exporters about themselves
            exportable = Exportable.of(model, self.inputs)
            path = Path(folder) / f"model{form.suffix}"
            form.write(exportable, path)
            self._run = form.load(path)
            self._named = exportable.named(exportable.inputs)
            self._run(self._named)  # some runtimes read the file only now
        self.tensors: list[Tensor] = [*exportable.model.parameters(), *exportable.inputs.tensors]
        self.accelerators: set[torch.device] = set()
        self._now_ns = time.perf_counter_ns
        if cpu_time and runtime == "onnxruntime":  # others have threads of their own
            self._now_ns = time.thread_time_ns

    def run_ms(self) -> float:
        """Run once; return how many milliseconds it took."""
        started_ns = self._now_ns()
        self._run(self._named)
        return (self._now_ns() - started_ns) / 1e6

    def peak_bytes(self) -> int | None:
        """Return None: another runtime does not say what memory it takes."""
        return None
