"""ONNX, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lightning_prune.formats.base import Format, Runner
from lightning_prune.formats.program import Exportable


class Onnx(Format):
    """An ``.onnx`` file, in the operator set that torch's exporter prefers."""

    suffix: ClassVar[str] = ".onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    extra: ClassVar[str | None] = "export-onnx"

    @override
    def write(self, exportable: Exportable, path: Path) -> None:
        """Write the graph with its weights; those of more than 2 GB into a file beside it."""
        open_sizes = tuple(
            {axis: "batch" for axis, size in enumerate(shape) if size is None}
            for shape in exportable.shapes.values()
        )
        written = torch.onnx.export(
            exportable.program,
            dynamo=True,
            verbose=False,
            output_names=list(exportable.output_names),
            dynamic_shapes=open_sizes,
        )
        if written is None:  # only where it is given a path
            raise RuntimeError("torch's exporter to ONNX returned nothing")
        written.save(path)

    @override
    def load(self, path: Path) -> Runner:
        """Run the file on the CPU."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Else its threads keep the cores busy between runs, in the way of other runtimes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        taken = {given.name for given in session.get_inputs()}

        def run(inputs: Mapping[str, Tensor]) -> list[Tensor]:
            feed = {name: value.numpy() for name, value in inputs.items() if name in taken}
            return [torch.from_numpy(output) for output in session.run(None, feed)]

        return run

    @override
    def files(self, path: Path) -> list[Path]:
        """Return the graph and, where there is one, the file of its weights."""
        weights = Path(f"{path}.data")
        return [path, weights] if weights.exists() else [path]
