"""A timed file: a model that was written for another runtime and loaded there, with its inputs."""

from __future__ import annotations

import copy
import shutil
import time
import warnings
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from lightning_prune.formats import FORMATS, Exportable
from lightning_prune.modules.inputs import ExampleInputs

RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino", "executorch": "executorch"}
"""The format that each runtime reads."""


class TimedFile:
    """A model in another runtime on the CPU, with its inputs; the file goes with it.

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
        self._form = FORMATS[RUNTIMES[runtime]]
        self._folder = _Folder()
        self._path = self._folder.path / f"model{self._form.suffix}"
        with (
            warnings.catch_warnings(),
            torch.random.fork_rng([]),
            torch.inference_mode(False),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")  # of exporters about themselves
            exportable = Exportable.of(model, self.inputs)
            self._form.write(exportable, self._path)
            self._named = exportable.named(exportable.inputs)
            self._load()
        self.tensors: list[Tensor] = [*exportable.model.parameters(), *exportable.inputs.tensors]
        self.accelerators: set[torch.device] = set()
        self._now_ns = time.perf_counter_ns
        if cpu_time and runtime == "onnxruntime":  # others have threads of their own
            self._now_ns = time.thread_time_ns

    def _load(self) -> None:
        self._run = self._form.load(self._path)
        self._run(self._named)  # some runtimes read the file only now

    def again(self) -> TimedFile:
        """Return the same file, loaded once more: its weights lie elsewhere in the memory."""
        other = copy.copy(self)
        with torch.random.fork_rng([]), torch.no_grad():
            other._load()
        return other

    def run_ms(self) -> float:
        """Run once; return how many milliseconds it took."""
        started_ns = self._now_ns()
        self._run(self._named)
        return (self._now_ns() - started_ns) / 1e6

    def peak_bytes(self) -> int | None:
        """Return None: another runtime does not say what memory it takes."""
        return None


class _Folder:
    """A folder that is there as long as this is."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
